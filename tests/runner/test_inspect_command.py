"""`ablations inspect`: what a checkpoint uses; and the options that Python and the command line share."""

import json

import pandas as pd
import pytest
from folders import PARITY, copied

import ablations
from lab.runner import interface


def test_json_is_what_python_gives(capsys):
    folder = PARITY / "gpt2_older"
    assert ablations.main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(ablations.inspect(folder).to_dict()))
    for name in ("family", "activation", "norm", "positions", "parameters", "sizes"):
        assert found[name]


def test_the_lines_name_what_the_network_uses(capsys):
    assert ablations.main(["inspect", str(PARITY / "gemma3_text_scaled")]) == 0
    text = capsys.readouterr().out
    for word in (
        "gemma3_text",
        "gelu_tanh_glu",
        "tanh",
        "rmsnorm",
        "sandwich",
        "rotary",
        "7,524",
        "tied",
        "d_model 16",
    ):
        assert word in text


def test_against_is_the_swap(monkeypatch, capsys):
    asked = {}

    def swap(directory, activation, **options):
        asked.update(directory=directory, activation=activation, **options)
        return pd.DataFrame([{"seed": -1, "change": "activation", "measure": "loss", "value": float("nan")}])

    monkeypatch.setattr(interface, "swap", swap)
    words = ["--against", "gelu_tanh", "--ignore", "odd", "--json"]
    assert ablations.main(["inspect", str(PARITY / "bert_older"), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    given = {"directory": PARITY / "bert_older", "activation": "gelu_tanh", "ignore": ("odd",)}
    assert asked == {**given, "text": None, "out": None}
    assert found["against"] == "gelu_tanh"
    assert found["drift"] == [{"seed": -1, "change": "activation", "measure": "loss", "value": None}]


@pytest.mark.parametrize("command", [["inspect"], ["swap", "--activation", "relu"]])
def test_a_key_is_ignored_from_the_command_line_as_from_python(command, tmp_path, capsys):
    folder = copied("gpt2_older", tmp_path / "folder", per_layer_config={"0": {}}, add_cross_attention=True)
    name, *rest = command
    assert ablations.main([name, str(folder), *rest]) == 2
    refused = capsys.readouterr().err
    for word in ("per_layer_config", "add_cross_attention", "ignore"):
        assert word in refused
    assert refused.count("\n") == 1
    # With one of them ignored the other is still refused.
    assert ablations.main([name, str(folder), *rest, "--ignore", "per_layer_config"]) == 2
    assert "per_layer_config" not in capsys.readouterr().err
    with pytest.raises(ValueError, match="add_cross_attention"):
        ablations.inspect(folder, ignore=("per_layer_config",))
    both = ["--ignore", "per_layer_config", "add_cross_attention"]
    if name == "inspect":
        assert ablations.main([name, str(folder), *rest, *both]) == 0


def test_an_experiment_starts_from_a_folder_whose_keys_are_ignored(tmp_path, capsys):
    folder = copied("gpt2_older", tmp_path / "folder", per_layer_config={"0": {}})
    words = ["describe", "quickstart", "--init-from", str(folder)]
    assert ablations.main(words) == 2
    assert "per_layer_config" in capsys.readouterr().err
    assert ablations.main([*words, "--ignore", "per_layer_config"]) in (0, 2)
    assert "per_layer_config" not in capsys.readouterr().err
