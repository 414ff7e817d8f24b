"""Telemetry of training: the same for many runs as for one, after interruptions, in results and in the report."""

from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pandas as pd
import pytest

import ablations
from lab.experiment.experiment import grid
from lab.report.networks import telemetry as section
from lab.results.cells import CellDirectory
from lab.results.results import read
from lab.runner import session
from lab.runner.networks.inside import PROBE
from lab.training.devices.execution import Execution
from lab.training.runs import Program
from lab.training.settings import Hyperparameters, Run
from lab.training.telemetry import Telemetry
from lab.training.train import train
from models.layers import telemetry


class Small(nn.Module):
    """A network of one's own that compiles fast: logits of the next token from the last one alone."""

    activation: Any = "gelu"

    @nn.compact
    def __call__(self, tokens, mask=None):
        x = nn.Embed(256, 4, name="embedding")(tokens)
        telemetry.observe(self, "layer_0/input", x)
        return nn.Dense(256, name="layer_1")(self.activation(x))


@pytest.fixture
def experiment(experiment):
    return replace(experiment, model=Small(), activations=("gelu", "relu"), seeds=(0, 1))


@pytest.fixture
def cell(experiment):
    return grid(experiment)[0]


def test_many_runs_as_one_alone(cell):
    dataset = cell.task.load()

    def looked(runs, execution):
        program = Program(cell.model, cell.task, cell.settings, runs, dataset, execution, probe=PROBE)
        return program.telemetry(program.init())

    alone = looked(cell.runs[1:], Execution("map", 1))
    together = looked(cell.runs, Execution("vmap", 1))
    assert set(together) == set(alone)
    for key, values in together.items():
        np.testing.assert_allclose(values[1:], alone[key], rtol=1e-3, atol=1e-5, err_msg=str(key))


def test_the_norms_are_those_of_gradient_and_update(cell):
    """Plain gradient descent, whose update is the gradient times the rate."""
    run = Run(0, Hyperparameters(learning_rate=1e-2, b1=0.0, clip_norm=np.inf))
    settings = replace(cell.settings, optimizer="sgd")
    program = Program(cell.model, cell.task, settings, [run], cell.task.load(), Execution("map", 1), probe=PROBE)
    state = program.init()
    found = program.telemetry(state)
    gradients = {key[:2]: value for key, value in found.items() if key[2] == "gradient_norm"}
    assert set(gradients) == {("", "embedding"), ("layer_1", "parameters")}
    for place, size in gradients.items():
        assert size > 0
        np.testing.assert_allclose(found[(*place, "update_norm")], 1e-2 * size, rtol=1e-5)
    weights = program.host(state).parameters["layer_1"]
    expected = sum((leaf**2).sum() for leaf in jax.tree.leaves(weights)) ** 0.5
    np.testing.assert_allclose(found["layer_1", "parameters", "parameter_norm"], expected, rtol=1e-5)


def inside(folder):
    """The rows of telemetry of a cell's runs."""
    (wave,) = CellDirectory(folder).waves()
    return wave.telemetry().to_pandas()


def test_resumed_has_the_rows_of_uninterrupted(cell, tmp_path, monkeypatch):
    dataset = cell.task.load()
    start = partial(train, cell.model, cell.task, cell.settings, cell.runs)
    start(tmp_path / "whole", dataset, probe=PROBE)

    class Killed(Exception):
        pass

    def kill(step, rows):
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        start(tmp_path / "parts", dataset, watch=kill, probe=PROBE)
    start(tmp_path / "parts", dataset, probe=PROBE)
    pd.testing.assert_frame_equal(inside(tmp_path / "parts"), inside(tmp_path / "whole"))
    assert sorted(inside(tmp_path / "whole")["step"].unique()) == [0, 2, 4, 6]


def test_training_is_the_same_with_it(cell, tmp_path):
    dataset = cell.task.load()
    for name in ("with", "without"):
        train(
            cell.model,
            cell.task,
            cell.settings,
            cell.runs,
            tmp_path / name,
            dataset,
            probe=PROBE if name == "with" else None,
        )
    curves = [CellDirectory(tmp_path / name).waves()[0].metrics() for name in ("with", "without")]
    pd.testing.assert_frame_equal(*curves)


def test_spike_scores_go_on_after_an_interruption():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 400))
    values[1, 300] = 50
    whole, parts = Telemetry(PROBE), Telemetry(PROBE)
    whole.follow(400, {"loss": values})
    for begin in range(0, 400, 40):
        parts = Telemetry.of(PROBE, parts.to_json()) if begin else parts
        parts.follow(begin + 40, {"loss": values[:, begin : begin + 40]})
    last = parts.table[parts.table["step"] == 400]
    assert last["value"].tolist() == whole.table["value"].tolist() == [0, 1 / 400]


def test_a_diverged_run_has_no_spike_score():
    rows = Telemetry(PROBE)
    values = np.ones((2, 10))
    values[1, 3] = np.nan
    for end in (10, 20):
        rows.follow(end, {"loss": values})
        values = np.ones((2, 10))
    assert rows.table["value"].isna().tolist() == [False, True] * 2


def test_results_have_it_where_it_was_asked_for(experiment, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(session, "_finish", lambda *of: None)  # the report
    experiment = replace(experiment, activations=("gelu",))
    off = ablations.run(experiment, tmp_path / "off", quiet=True)
    assert off.telemetry.empty
    asked = replace(experiment, telemetry=True)
    assert [cell.name for cell in grid(asked)] == [cell.name for cell in grid(experiment)]
    ablations.run(asked, tmp_path / "off")
    assert "--retrain" in capsys.readouterr().err
    assert read(tmp_path / "off").telemetry.empty
    on = ablations.run(asked, tmp_path / "off", retrain=True, quiet=True)
    pd.testing.assert_frame_equal(on.rows, off.rows)
    rows = on.telemetry
    assert {"activation", "seed", "learning_rate", "step", "layer", "site", "metric", "value"} <= set(rows)
    assert {"", "layer_0", "layer_1"} == set(rows["layer"])
    assert set(rows[rows["metric"] == "spike_score"]["site"]) == {"loss", "gradient_norm"}
    assert sorted(rows["seed"].unique()) == [0, 1]


def test_the_table_of_the_report_pairs_by_seed():
    """The arm's value is the seed's plus 2, of the baseline at the end the seed alone, at the start 10; each arm
    has the learning rate that was tuned for it."""
    rates = {"gelu": 1e-3, "relu": 3e-3}
    rows = [
        {"activation": arm, "seed": seed, "learning_rate": rates[arm], "step": step, "layer": layer, "site": "residual"}
        | {"metric": "rms", "value": (10 if step == 0 else seed + (2 if arm == "relu" else 0))}
        for layer in ("layer_2", "layer_10")
        for arm in ("gelu", "relu")
        for seed in (0, 5, 7)
        for step in (0, 9)
    ]
    found = section.table(pd.DataFrame(rows), "gelu", 0.95)
    assert found["layer"].tolist() == ["layer_2", "layer_10"]
    for name, value in {"first": 10, "last": 4, "relu": 2, "relu low": 2, "relu high": 2}.items():
        assert found[name].tolist() == pytest.approx([value] * 2), name


class Unfinished:
    """Results with telemetry alone: relu has reached step 5, gelu, in which everything happens later, step 9."""

    telemetry = pd.DataFrame(
        {"experiment": "own", "cell": arm, "task": "t", "model": "m", "activation": arm, "learning_rate": 1e-3}
        | {"seed": seed, "step": step, "split": "validation", "layer": "layer_0", "site": "residual", "metric": "rms"}
        | {"value": 100.0 if step == 9 else 1.0}
        for arm, steps in (("gelu", (0, 5, 9)), ("relu", (0, 5)))
        for seed in (0, 1)
        for step in steps
    )


def test_unfinished_arms_are_compared_at_a_common_step():
    _, table = section.section(Unfinished, "gelu", 0.95, 5)
    assert table.values["relu"].tolist() == [0]
