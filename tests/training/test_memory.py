"""What does not fit goes through in waves, and what cannot fit is refused before anything is placed."""

import math
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pandas as pd
import pytest
from bigram import Bigram

from lab.experiment.experiment import grid
from lab.results.cells import CellDirectory
from lab.training import train as loop
from lab.training.devices import memory
from lab.training.devices.execution import Execution
from lab.training.devices.placement import Placement
from lab.training.runs import Program
from lab.training.settings import Hyperparameters, Run
from lab.training.train import train


@pytest.fixture
def cell(experiment):
    return grid(replace(experiment, model=Bigram(), activations=("gelu",), seeds=(0, 1, 2, 3, 4)))[0]


@pytest.mark.parametrize("fixed", [0, 70])
@pytest.mark.parametrize("wanted", [1, 2, 7, 100])
def test_as_many_as_fit_and_asked_as_little_as_possible(fixed, wanted):
    for fits in range(1, wanted + 1):
        asked = []

        def needed(runs, asked=asked):
            asked.append(runs)
            return fixed + 10 * runs

        assert memory.most(wanted, needed, fixed + 10 * fits + 5) == fits
        assert asked == ([wanted] if fits == wanted else [wanted, 1, *([fits] if fits > 1 else [])])


def test_a_wrong_promise_is_corrected():
    def needed(runs):
        return {1: 10, 2: 40, 3: 45, 4: 50}[runs]  # the line through 1 and 4 promises that 2 fit into 30

    assert memory.most(4, needed, 30) == 1
    assert memory.most(4, needed, 46) == 3


def test_it_says_how_much_is_missing():
    sentence = "need 12.5 GB of device memory but 8 GB are free, 4.5 GB are missing"
    with pytest.raises(ValueError, match=sentence):
        memory.most(1, lambda runs: 12_500_000_000, 8_000_000_000)
    memory.check(8, 8)


def program(cell, runs, batch_size=4):
    settings = replace(cell.settings, batch_size=batch_size)
    runs = list(cell.runs[:runs])
    return Program(cell.model, cell.task, settings, runs, cell.task.load(), Execution("vmap", 1))


@pytest.mark.slow
def test_more_runs_and_larger_batches_need_more_and_nothing_is_placed(cell, monkeypatch):
    monkeypatch.setattr("lab.training.runs._put", None)
    one, two, large = (program(cell, *numbers).device_bytes for numbers in ((1,), (2,), (1, 64)))
    arrays = cell.task.load().arrays["train"]
    assert sum(array.nbytes for array in arrays.values()) < one < two < large


def test_what_a_program_says_it_needs_holds_its_state_and_data(cell):
    many = program(cell, 3)
    state = many.init()
    assert memory.size(state) == sum(leaf.nbytes for leaf in jax.tree.leaves(many.host(state)))
    assert many.device_bytes > sum(map(memory.size, (state, many._data))) + many.evaluation.curve.nbytes


class Measured(Program):
    """What a program of so many runs would need; the compiler refuses those beyond `limit`."""

    limit = 100

    def __init__(self, runs, execution):
        if len(runs) > self.limit:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: ran out of memory in memory space hbm")
        self.n_runs, self.device_bytes = len(runs), 10 * math.ceil(len(runs) / execution.devices)


@pytest.mark.parametrize(("limit", "expected"), [(100, 12), (20, 12)])
def test_waves_are_equal_and_fill_the_devices(monkeypatch, limit, expected):
    monkeypatch.setattr(Measured, "limit", limit)
    monkeypatch.setattr(memory, "capacity", lambda devices: 45)  # 4 runs a device; 24 runs are 6 a device
    runs = [Run(seed, Hyperparameters()) for seed in range(24)]
    assert loop._largest(Measured, runs, Execution.choose("map", len(runs))).n_runs == expected


def metrics(directory):
    table = pd.concat([wave.metrics() for wave in CellDirectory(directory).waves()])
    return table.sort_values(["seed", "step", "split", "metric"])["value"].to_numpy()


@pytest.mark.slow
def test_runs_that_do_not_fit_go_through_in_waves(cell, tmp_path, monkeypatch):
    train_in = partial(train, cell.model, cell.task, cell.settings, cell.runs, dataset=cell.task.load())
    train_in(tmp_path / "whole", placement=Placement("vmap"))
    one, two = (
        Program(
            cell.model, cell.task, cell.settings, cell.runs[: 4 * n], cell.task.load(), Execution("vmap", 4)
        ).device_bytes
        for n in (1, 2)
    )
    monkeypatch.setattr(memory, "capacity", lambda devices: (one + two) // 2)
    train_in(tmp_path / "waves", placement=Placement("vmap"))
    waves = CellDirectory(tmp_path / "waves").waves()
    assert sorted(len(wave.runs) for wave in waves) == [1, 4]
    np.testing.assert_allclose(metrics(tmp_path / "waves"), metrics(tmp_path / "whole"), rtol=2e-5, atol=2e-5)


def test_a_run_that_cannot_fit_alone_is_refused(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "capacity", lambda devices: 1000)
    with pytest.raises(ValueError, match=r"but 1 kB are free, .* kB are missing"):
        train(cell.model, cell.task, cell.settings, cell.runs[:1], tmp_path, cell.task.load())
    assert not CellDirectory(tmp_path).waves()


def test_a_control_group_limits_the_machine(tmp_path, monkeypatch):
    assert 2**28 < memory.capacity(1) == pytest.approx(4 * memory.capacity(), abs=4)
    (tmp_path / "memory.max").write_text("1000000\n")
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    assert memory.capacity(1) == 900_000
