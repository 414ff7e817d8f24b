"""The benchmarks run, compare equal things and print their tables; nothing is timed here."""

import contextlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import activations, cpu, formulations, gpu, measure, scaling, tpu, worker, workload
from benchmarks import input as reading
from benchmarks.workload import Size
from lab.experiment.experiment import grid
from lab.training import step

SMALL = Size(d_model=16, n_layers=2, n_heads=2, context=8, batch_size=4, vocab_size=17)


def test_sides_are_measured_in_turn():
    order = []
    sides = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert measure.in_turn(sides, 3) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert "".join(order) == "ababab"


def test_as_many_steps_are_timed_as_fit_but_not_the_first():
    durations = iter([100.0, 0.25])
    assert measure.fitting(lambda steps: next(durations), 2.0) == 8
    assert measure.fitting(lambda steps: 1e9, 2.0, at_least=4) == 4


def test_tables_and_spreads():
    assert measure.markdown(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"
    assert measure.spread([1, 2, 3, 4, 5]) == "3.00 (2.00 to 4.00)"
    assert measure.ratios([2, 9], [1, 3]) == [2, 3]


def test_cpu_targets_are_held_against_the_right_side(capsys):
    rates = {cpu.JAX_SEEDS: [30.0] * 3, cpu.ONE: [9.0] * 3, cpu.EAGER: [10.0] * 3, cpu.PINNED: [40.0] * 3}
    row = {
        "target": {"size": {}, "ratio": 2.0, "share": 0.65},
        "flops_per_token": 2.0,
        "tokens_per_second": rates,
        "matmul_flops": {"NumPy": [80.0] * 3, "XLA": [100.0] * 3},
    }
    lines = list(cpu.verdicts("128", row))
    assert [line[1] for line in lines] == [
        *("8 seeds / torch", "8 seeds / torch, one process per core", "1 seed / torch"),
        "8 seeds' FLOP/s / matrix products of XLA",
    ]
    assert [line[2].split()[0] for line in lines] == ["3.00", "0.75", "0.90", "0.60"]
    assert [line[4] for line in lines] == ["met", "not met", "not met", "not met"]
    printed = cpu.tables({"sizes": {"128": row}, "runner": {"runner": [2.0], "program": [2.0]}})
    assert "| 128 | torch | 10 |" in printed
    assert printed.endswith("of the bare program: 1.00 (1.00 to 1.00)")
    assert len(cpu.figure({"128": row}).axes) == 1


def test_without_torch_its_side_is_left_out_with_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(worker, "has_torch", lambda: False)
    with contextlib.ExitStack() as stack:
        assert cpu.started(SMALL, None, stack) == {}
    assert capsys.readouterr().out.strip() == worker.WITHOUT


def test_a_folder_without_a_model_is_no_peer(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cpu.main(["--peer", str(tmp_path)])
    assert "it must be a folder that holds nanoGPT's model.py" in capsys.readouterr().err


def test_activations_are_compared_with_relu(tmp_path, capsys):
    tiny = [
        "--activations",
        "gelu",
        "prelu",
        "swiglu",
        "--rows",
        "4",
        "--width",
        "8",
        "--rounds",
        "2",
        "--seconds",
        "0",
    ]
    activations.main([*tiny, "--json", str(tmp_path / "activations.json")])
    assert "| relu | float32 |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "activations.json").read_text())["rows"]
    assert {row["activation"] for row in rows} == {"relu", "gelu", "prelu", "swiglu"}
    assert {row["dtype"] for row in rows} == set(activations.TYPES)
    assert all(len(row["forward"]) == len(row["backward"]) == 2 for row in rows)
    assert np.all(np.array(activations.ratios(rows)["relu", "float32"]) == 1)
    assert "<svg" in (tmp_path / "activations.svg").read_text()


def test_of_what_activations_keep_a_gated_one_needs_more():
    arrays = [jnp.ones((4, 8))] * 3
    kept = {name: activations.programs(name, arrays)[1]["kept"] for name in ("gelu", "geglu")}
    assert kept["geglu"] >= kept["gelu"] + arrays[0].nbytes


PARTS = formulations.parts(Size(d_model=16, n_layers=1, n_heads=2, context=8, batch_size=4), "float32")


@pytest.mark.parametrize("name", PARTS)
def test_both_ways_compute_the_same(name):
    ours, other, arguments = PARTS[name]
    for expected, actual in zip(*(jax.tree.leaves(function(*arguments)) for function in (ours, other)), strict=True):
        np.testing.assert_allclose(actual.reshape(expected.shape), expected, atol=2e-5)


def test_a_section_that_fails_or_takes_too_long_is_recorded(monkeypatch):
    monkeypatch.setitem(gpu.SECTIONS, "machine", (gpu.machine, 0.01))
    assert gpu.section("machine", tiny=True)["ended"] == "stopped after 0 s"
    monkeypatch.setitem(gpu.SECTIONS, "machine", (gpu.machine, 20.0))
    monkeypatch.setattr(sys, "executable", "false")
    assert gpu.section("machine", tiny=True)["ended"] == "failed with exit code 1"


def test_the_sections_of_a_gpu_take_nine_minutes_at_most():
    assert sum(limit for _, limit in gpu.SECTIONS.values()) <= 540


def test_gpu_targets():
    size = {"d_model": 128}
    rows = {
        "machine": [{"matmul_flops": {"bfloat16": 100.0}}],
        "seeds": [{"seeds": 32, "size": size, "JAX": [50.0], "torch": [2.0]}],
        "gpt2": [{"seeds": 1, "size": size, "flops_per_token": 10.0, "JAX": [4.0], "torch": [4.0]}],
        "curve": [{"seeds": 5, "one": [10.0], "many": [14.0]}],
    }
    sections = {name: {"ended": "done", "seconds": 1.0, "rows": found} for name, found in rows.items()}
    lines = gpu.verdicts(sections)
    assert [line[1].split()[0] for line in lines] == ["25.00", "1.00", "0.40", "0.10"]
    assert [line[3] for line in lines] == ["met", "not met", "not met", "met"]
    failed = {name: {"ended": "failed with exit code 1", "seconds": 1.0, "rows": []} for name in gpu.SECTIONS}
    assert gpu.verdicts(failed) == []
    assert "| gpt2 | 1 | failed with exit code 1 |" in gpu.tables(failed)


def test_a_way_that_fails_says_why_and_the_others_are_timed():
    rows = {row["way"]: row for row in gpu.attention(gpu.TINY)}
    assert "cudnn" in rows.pop("jax.nn cudnn")["failed"].lower()
    assert list(rows) == ["models.layers.attention", "jax.nn xla"]
    assert all(len(row["ms"]) == gpu.TINY.rounds for row in rows.values())


def torch_weights(parameters):
    """The project's parameters by the names of `benchmarks.peer`; PyTorch's kernels are [out, in]."""
    weights = {
        "token_embedding.weight": parameters["token_embedding"]["embedding"],
        "position_embedding.weight": parameters["position_embedding"]["embedding"],
        "final_norm.weight": parameters["final_norm"]["scale"],
    }
    for i in range(SMALL.n_layers):
        layer = parameters[f"layer_{i}"]
        attention, feedforward = layer["attention"], layer["feedforward"]
        qkv = [attention[name]["kernel"] for name in ("query", "key", "value")]
        weights |= {
            f"blocks.{i}.attention_norm.weight": layer["attention_norm"]["scale"],
            f"blocks.{i}.qkv.weight": np.concatenate(qkv, axis=1).T,
            f"blocks.{i}.output.weight": attention["output"]["kernel"].T,
            f"blocks.{i}.feedforward_norm.weight": layer["feedforward_norm"]["scale"],
            f"blocks.{i}.up.weight": feedforward["up"]["kernel"].T,
            f"blocks.{i}.down.weight": feedforward["down"]["kernel"].T,
        }
    return weights


def test_both_sides_compute_the_same():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from benchmarks import peer

    cell = grid(workload.experiment(SMALL, 1))[0]
    hyperparameters, seed, one = cell.runs[0].hyperparameters, jnp.uint32(0), jnp.int32(1)
    shape = (5, SMALL.batch_size, SMALL.context + 1)
    windows = np.random.default_rng(0).integers(SMALL.vocab_size, size=shape)
    data = [{"window": {"tokens": jnp.asarray(window[None], jnp.int32)}} for window in windows]
    fixed = (cell.model, cell.task, cell.settings)
    state = step.init(*fixed, seed, hyperparameters, data[0])
    theirs = peer.GPT(peer.GPTConfig(**SMALL.peer))
    theirs.load_state_dict({name: torch.tensor(np.array(x)) for name, x in torch_weights(state.parameters).items()})
    optimizer = peer.adamw(theirs, hyperparameters.learning_rate, fused=False)
    train = jax.jit(lambda state, i, data: step.train_interval(*fixed, state, i, one, seed, hyperparameters, data))
    for i in range(5):
        state, metrics = train(state, jnp.int32(i), data[i])
        loss = peer.update(theirs, optimizer, torch.tensor(windows[i]), contextlib.nullcontext())
        np.testing.assert_allclose(metrics["loss"], loss.item(), rtol=1e-5)


@pytest.mark.slow
def test_a_process_of_torch_trains_the_model_of_a_file_and_multiplies(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    source = tmp_path / "model.py"
    source.write_text((Path(worker.__file__).parent / "peer.py").read_text())
    with worker.Worker(SMALL.peer, SMALL.batch_size, source=source, threads=1) as one:
        assert one.receive()["threads"] == 1
        assert one.ask(train=1) > 0
        assert one.ask(matmul=[[8, 8, 8]]) > 0


@pytest.mark.slow
def test_a_process_of_torch_that_cannot_start_says_so(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    with (
        worker.Worker(SMALL.peer, SMALL.batch_size, source=tmp_path / "model.py") as one,
        pytest.raises(RuntimeError, match="the process of torch ended with code 1"),
    ):
        one.receive()


@pytest.mark.slow
def test_the_benchmark_of_the_cpu_prints_its_targets(tmp_path, capsys, monkeypatch):
    tiny = Size(d_model=8, n_layers=1, n_heads=1, context=8, batch_size=2)
    monkeypatch.setitem(cpu.TARGETS, "64", cpu.Target(tiny, ratio=2.0, share=0.5))
    cpu.main(["--sizes", "64", "--rounds", "1", "--seconds", "0", "--json", str(tmp_path / "cpu.json")])
    assert "| 64 | 8 seeds' FLOP/s / matrix products of" in capsys.readouterr().out
    kept = json.loads((tmp_path / "cpu.json").read_text())
    assert len(kept["sizes"]["64"]["tokens_per_second"][cpu.JAX_SEEDS]) == 1
    assert set(kept["runner"]) == {"program", "runner"}


@pytest.mark.slow
def test_the_benchmark_of_scaling_draws_its_sweeps(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "CPU", SMALL)
    monkeypatch.setattr(scaling, "FACTORS", {"width": (0.5, 1), "depth": (0.5, 1)})
    scaling.main(["--seeds", "2", "--rounds", "1", "--seconds", "0", "--json", str(tmp_path / "scaling.json")])
    assert "| width | 2 | 8 | 2 |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert [row["sweep"] for row in rows] == ["seeds"] * 2 + ["width"] * 2 + ["depth"] * 2
    assert rows[1]["flops"] == 2 * rows[0]["flops"]


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_its_sections(tmp_path, capsys, monkeypatch):
    for name, (function, _) in gpu.SECTIONS.items():
        monkeypatch.setitem(gpu.SECTIONS, name, (function, 600.0))
    gpu.main(["--tiny", "--json", str(tmp_path / "gpu.json")])
    assert "one more seed of 2" in capsys.readouterr().out
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert {name: found["ended"] for name, found in sections.items()} == dict.fromkeys(gpu.SECTIONS, "done")
    assert "<svg" in (tmp_path / "gpu.svg").read_text()


@pytest.mark.slow
def test_the_first_steps_of_the_quickstart_say_how_fast(monkeypatch):
    assert tpu.first_steps(1, ("gelu",)).startswith("quickstart, 1 steps of gelu: ")


@pytest.mark.slow
def test_the_benchmark_of_input_prints_its_tables_and_keeps_its_numbers(tmp_path, capsys):
    tiny = ["--experiments", "fashion_vit", "--runs", "1", "--repetitions", "2", "--seconds", "0", "--megabytes", "1"]
    reading.main([*tiny, "--json", str(tmp_path / "input.json")])
    printed = capsys.readouterr().out
    assert "| fashion_vit | 64 | 1 |" in printed
    assert "| 12 | 64 | 1 | 1 |" in printed
    kept = json.loads((tmp_path / "input.json").read_text())
    assert [len(kept["drawn"][0][name]) for name in ("fixed", "drawn")] == [2, 2]
    assert len(kept["streamed"]) == len(reading.STREAMS)
    assert "<svg" in (tmp_path / "input.svg").read_text()
