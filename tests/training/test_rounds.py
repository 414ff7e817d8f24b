"""One program trains other runs as its own; training begins again, with the optimizer's state kept or reset."""

from dataclasses import replace

import chex
import jax
import numpy as np
import pytest
from bigram import Bigram
from refusals import refused

from lab.experiment.experiment import grid
from lab.training import step
from lab.training.devices.execution import Execution
from lab.training.restart import restarted
from lab.training.runs import Program, Reuse
from lab.training.settings import Hyperparameters, Run
from lab.training.train import train

EXECUTION = Execution("map", 1)


@pytest.fixture
def cell(experiment):
    return grid(replace(experiment, model=Bigram()))[0]


def program(cell, runs, settings=None):
    return Program(cell.model, cell.task, settings or cell.settings, runs, cell.task.load(), EXECUTION)


def ended(many, steps=4):
    return many.host(many.train_interval(many.init(), 0, steps)[0])


def runs(rates, seeds=(7, 8)):
    return [Run(seed, Hyperparameters(learning_rate=rate)) for seed, rate in zip(seeds, rates, strict=True)]


def test_a_program_trains_other_runs_as_one_of_their_own(cell):
    first = program(cell, cell.runs[:2])
    before = ended(first)
    other = first.with_runs(runs((1e-3, 0.3)))
    assert other.compile_seconds == 0
    chex.assert_trees_all_equal(ended(other), ended(program(cell, runs((1e-3, 0.3)))))
    chex.assert_trees_all_equal(ended(first), before)


def test_runs_that_do_not_fit_a_program_are_refused(cell):
    many = program(cell, cell.runs[:2])
    with refused("runs", 1, 2):
        many.with_runs(cell.runs[:1])
    with refused("runs", 2):
        many.with_runs([Run(seed, Hyperparameters(activation_constant=0.1)) for seed in (0, 1)])


def test_rounds_of_training_are_traced_once(cell, tmp_path, monkeypatch):
    for name in ("init", "train_interval", "evaluate"):
        monkeypatch.setattr(step, name, chex.assert_max_traces(getattr(step, name), n=1))
    reuse, data = Reuse(), cell.task.load()
    for rates in ((1e-3, 1e-2), (1e-1, 3e-3), (2e-3, 2e-2)):
        train(cell.model, cell.task, cell.settings, runs(rates), tmp_path, data, compiled=reuse)
    assert reuse.compiled == 1


def test_a_restart_that_keeps_the_optimizer_and_its_place_changes_nothing(cell):
    many = program(cell, cell.runs[:2])
    drawn, trained = many.host(many.init()), ended(many)
    chex.assert_trees_all_equal(restarted(drawn, trained, keep=True, done=4), trained)


def test_a_reset_forgets_the_moments_and_not_the_parameters(cell):
    many = program(cell, cell.runs[:2])
    drawn, trained = many.host(many.init()), ended(many)
    found = restarted(drawn, trained, keep=False)
    chex.assert_trees_all_equal(found.parameters, trained.parameters)
    chex.assert_trees_all_equal(found.optimizer_state, drawn.optimizer_state)
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(trained.optimizer_state))


@pytest.mark.parametrize("keep", [True, False])
def test_the_schedule_begins_at_its_warmup_or_at_its_peak(cell, keep):
    settings = replace(cell.settings, steps=100, warmup_steps=50, schedule="constant")
    many = program(cell, cell.runs[:2], settings)
    drawn, trained = many.host(many.init()), ended(many)
    moved = {}
    for done in (0, 49):
        begin = restarted(drawn, trained, keep, done)
        after = many.host(many.train_interval(many.restore(begin), 10, 1)[0])
        moved[done] = jax.tree.map(lambda one, other: np.abs(one - other).max(), after.parameters, begin.parameters)
    ratios = jax.tree.map(lambda peak, warm: peak / warm, moved[49], moved[0])
    np.testing.assert_allclose(jax.tree.leaves(ratios), 50, rtol=1e-2)


def test_a_state_without_a_schedule_cannot_be_restarted():
    state = step.State({"w": np.ones(2)}, (), {})
    with refused("schedule"):
        restarted(state, state, keep=True)
