"""A run that is spread over several devices gives the numbers of one that is not."""

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from bigram import Bigram
from jax.sharding import PartitionSpec
from refusals import refused

from lab.experiment.experiment import grid
from lab.results.cells import CellDirectory
from lab.training.devices.execution import Execution
from lab.training.devices.placement import Placement
from lab.training.devices.sharding import DATA, RUNS, split, with_split_inputs
from lab.training.runs import Program
from lab.training.settings import Settings
from lab.training.train import train

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


@pytest.mark.parametrize(
    ("path", "shape", "shards", "expected"),
    [
        ("parameters/layer_0/query/kernel", (8, 16), 4, (None, DATA)),
        ("parameters/embed/embedding", (256, 8), 4, (DATA,)),
        ("optimizer_state/1/0/mu/layers/query/kernel", (3, 8, 6), 4, (None, DATA)),  # 3 and 6 cannot be divided
        ("parameters/layer_0/norm/scale", (8,), 4, ()),
        ("parameters/layer_0/query/bias", (8,), 4, ()),
        ("optimizer_state/1/0/count", (), 4, ()),
        ("parameters/odd/kernel", (3, 5), 4, ()),
        ("parameters/layer_0/query/kernel", (8, 16), 1, ()),
    ],
)
def test_the_longest_axis_is_split(path, shape, shards, expected):
    assert split(path, shape, shards) == PartitionSpec(*expected)


def test_a_rule_decides_and_must_be_possible():
    rules = (("query/kernel$", PartitionSpec(DATA)),)
    assert split("parameters/query/kernel", (8, 16), 4, rules) == PartitionSpec(DATA)
    with pytest.raises(ValueError, match=r"parameters/query/kernel has shape \(6, 16\)"):
        split("parameters/query/kernel", (6, 16), 4, rules)


@pytest.fixture
def cell(experiment):
    return grid(replace(experiment, activations=("swiglu",)))[0]


def trained(cell, execution, data_on="device"):
    """State, metrics and the program of all runs after some steps."""
    program = Program(cell.model, cell.task, cell.settings, list(cell.runs), cell.task.load(), execution, data_on)
    state, metrics = program.train_interval(program.init(), 0, 4)
    return (program.host(state), {**metrics, **program.evaluate(state)}), state, program


def test_each_device_of_a_run_has_its_part_of_the_batch(cell):
    task = with_split_inputs(cell.task)
    assert isinstance(task, type(cell.task))
    assert asdict(task) == asdict(cell.task)
    batch = jax.tree.map(jax.numpy.asarray, task.batch(cell.task.load().arrays["train"], 0, 0, 8))
    auto = (jax.sharding.AxisType.Auto,) * 2
    with jax.set_mesh(jax.make_mesh((1, 4), (RUNS, DATA), axis_types=auto)):
        (inputs,) = jax.jit(task.inputs)(batch)
    np.testing.assert_array_equal(inputs, *cell.task.inputs(batch))
    assert [shard.data.shape for shard in inputs.addressable_shards] == 4 * [(2, cell.task.context)]


@pytest.mark.parametrize(
    ("model", "execution", "data_on", "accumulate"),
    [
        pytest.param(None, Execution("map", 1, shards=4), "device", 1, id="attention", marks=pytest.mark.slow),
        pytest.param(Bigram(), Execution("vmap", 2, shards=2), "host", 2, id="bigram"),
    ],
)
def test_a_spread_run_equals_one_on_one_device(cell, model, execution, data_on, accumulate):
    # With sgd: Adam divides by the gradient's size and so makes the rounding of a gradient near zero a whole step.
    settings = replace(cell.settings, optimizer="sgd", batch_size=8, accumulate=accumulate)
    cell = replace(cell, model=model or cell.model, settings=settings)
    whole, _, _ = trained(cell, Execution(execution.kind, 1))
    parts, state, program = trained(cell, execution, data_on)
    chex.assert_trees_all_close(parts, whole, rtol=2e-5, atol=2e-5)
    largest = max(jax.tree.leaves(state), key=lambda leaf: leaf.size)
    assert largest.addressable_shards[0].data.size * execution.devices * execution.shards == largest.size
    assert "all-reduce" in program._train.as_text()
    kept = program.host(state)
    chex.assert_trees_all_equal(program.host(program.restore(kept)), kept)


@pytest.mark.slow
def test_training_in_parts_equals_training_on_one_device(cell, tmp_path):
    arguments = (Bigram(), cell.task, cell.settings, cell.runs)
    train(*arguments, tmp_path / "whole", cell.task.load())
    train(*arguments, tmp_path / "parts", cell.task.load(), Placement(shards=2))
    whole, parts = (CellDirectory(tmp_path / name).waves()[0] for name in ("whole", "parts"))
    np.testing.assert_allclose(parts.metrics()["value"], whole.metrics()["value"], rtol=1e-4, atol=1e-4)
    assert parts.environments[0]["execution"] == asdict(Execution("map", 2, shards=2))


@pytest.mark.parametrize(
    ("shards", "batch_size", "words"),
    [
        (3, 6, ("shards", "3", "1, 2, 4")),
        (0, 4, ("shards", "0", "1, 2, 4")),
        (8, 8, ("shards", "8", "1, 2, 4")),
        (4, 6, ("shards", "4", "batch_size", "accumulate", "6")),
    ],
)
def test_impossible_shards_are_refused(shards, batch_size, words):
    with refused(*words):
        Placement(shards=shards).check(Settings(batch_size=batch_size))


EIGHT = """
import re
import sys

import jax

jax.config.update("jax_disable_most_optimizations", True)

from models.transformer import Transformer
from lab.tasks.language import CausalLanguage
from lab.training.devices.execution import Execution
from lab.training.runs import Program
from lab.training.settings import Hyperparameters, Run, Settings

task = CausalLanguage(data=sys.argv[1], context=8, evaluation_windows=8)
model = Transformer(context=8, d_model=8, n_layers=1, n_heads=2)
runs = [Run(seed, Hyperparameters()) for seed in range(11)]
settings = Settings(steps=6, batch_size=4)
for kind in ("vmap", "map"):
    program = Program(model, task, settings, runs, task.load(), Execution.choose(kind, len(runs)))
    programs = [program._init, program._train, program._evaluate]
    found = {name for one in programs for name in re.findall(sys.argv[2], one.as_text())}
    print(kind, program.execution.devices, *found)
"""


@pytest.mark.slow
def test_runs_on_eight_devices_do_not_communicate(tmp_path, corpus):
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", EIGHT, corpus, "|".join(COLLECTIVES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["vmap 8", "map 8"], done.stderr
