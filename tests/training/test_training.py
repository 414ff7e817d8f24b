"""Many runs in one program: the numbers do not depend on how they are executed, interrupted or grouped."""

from dataclasses import replace
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from bigram import Bigram
from marks import slow_but
from refusals import refused

from lab.experiment.experiment import grid
from lab.results.cells import CellDirectory
from lab.tasks.images import ImageClassification
from lab.training import checkpoints, step
from lab.training import train as loop
from lab.training.devices.execution import Execution
from lab.training.devices.placement import Placement
from lab.training.runs import Program
from lab.training.settings import Hyperparameters, Run, Settings
from lab.training.train import train
from models.activations import Activation, activation
from models.mlp import MLP

STEPS = 4


def program(cell, runs=None, execution=None):
    runs = list(cell.runs if runs is None else runs)
    dataset = cell.task.load()
    return Program(cell.model, cell.task, cell.settings, runs, dataset, execution or Execution("map", 1))


def trained(cell, runs=None, execution=None):
    """States and metrics of all runs after some steps."""
    many = program(cell, runs, execution)
    state, metrics = many.train_interval(many.init(), 0, STEPS)
    return many.host(state), {**metrics, **many.evaluate(state)}


@pytest.fixture
def cell(experiment):
    return grid(replace(experiment, model=Bigram()))[0]


def close(left, right, tolerance=2e-5):
    chex.assert_trees_all_close(left, right, rtol=tolerance, atol=tolerance)


EXECUTIONS = (
    Execution("vmap", 1),
    Execution("map", 1, chunk=2),
    Execution("map", 2),
    Execution("vmap", 3),
    Execution("map", 4),
)


@pytest.mark.parametrize("execution", slow_but((EXECUTIONS[3],), EXECUTIONS))
def test_execution_does_not_change_the_numbers(cell, execution):
    close(trained(cell, execution=execution), trained(cell))


def test_a_run_among_others_equals_the_run_alone(cell):
    state, metrics = trained(cell, execution=Execution("vmap", 1))
    alone, alone_metrics = trained(cell, [cell.runs[1]], Execution("vmap", 1))
    close(jax.tree.map(lambda leaf: leaf[1:2], state), alone)
    close({name: value[1:2] for name, value in metrics.items()}, alone_metrics)


def test_runs_sharded_over_devices_do_not_communicate(cell):
    many = program(cell, execution=Execution("vmap", 3))
    assert not any(word in many._train.as_text() for word in ("all-reduce", "all-gather", "all-to-all", "permute"))


def test_a_cell_is_traced_once(cell, tmp_path, monkeypatch):
    settings = replace(cell.settings, steps=5)  # the last interval is shorter
    for name in ("init", "train_interval", "evaluate"):
        counted = chex.assert_max_traces(getattr(step, name), n=1)
        monkeypatch.setattr(step, name, counted)
    train(cell.model, cell.task, settings, cell.runs, tmp_path / "cell", cell.task.load())


@pytest.mark.slow
def test_shared_parameters_start_equal_for_a_seed(experiment):
    wide = replace(experiment, activations=("gelu", "relu", "prelu", "swiglu"))
    data, hyperparameters = {"train": jax.device_put(grid(wide)[0].task.load().arrays["train"])}, Hyperparameters()
    states = [
        jax.jit(partial(step.init, cell.model, cell.task, cell.settings))(jnp.uint32(3), hyperparameters, data)
        for cell in grid(wide)
    ]
    leaves = [dict(jax.tree_util.tree_leaves_with_path(state.parameters)) for state in states]
    for other in leaves[1:]:
        shared = [path for path in other if path in leaves[0] and other[path].shape == leaves[0][path].shape]
        assert len(shared) > 5
        for path in shared:
            np.testing.assert_array_equal(other[path], leaves[0][path])


def test_seeds_differ(cell):
    kernels = trained(cell)[0].parameters["head"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])


@pytest.mark.slow
@pytest.mark.parametrize("data_on", ["device", "host"])
def test_initial_weights_and_batches_can_have_one_seed_for_all_runs(cell, data_on):
    def kernels(**seeds):
        settings, dataset = replace(cell.settings, **seeds), cell.task.load()
        many = Program(cell.model, cell.task, settings, cell.runs, dataset, Execution("map", 1), data_on)
        first = many.host(state := many.init())
        last = many.host(many.train_interval(state, 0, 1)[0])
        return first.parameters["head"]["kernel"], last.parameters["head"]["kernel"] - first.parameters["head"][
            "kernel"
        ]

    def equal(leaves):
        return all(np.array_equal(leaves[0], leaf) for leaf in leaves[1:])

    first, moved = kernels(init_seed=5)
    assert equal(first)
    assert not equal(moved)  # their batches differ
    first, moved = kernels(order_seed=5)
    assert not equal(first)
    first, moved = kernels(init_seed=5, order_seed=5)
    assert equal(first)
    assert equal(moved)


def test_the_largest_loss_of_an_interval_is_that_of_one_of_its_steps(cell):
    many = program(cell, cell.runs[:1])
    state, whole = many.train_interval(many.init(), 0, STEPS)
    state, losses = many.init(), []
    for index in range(STEPS):
        state, metrics = many.train_interval(state, index, 1)
        losses.append(metrics)
    for name in ("loss", "gradient_norm"):
        each = [metrics[name] for metrics in losses]
        np.testing.assert_allclose(whole[f"largest_{name}"], np.max(each, axis=0), rtol=1e-5)
        np.testing.assert_allclose(whole[name], np.mean(each, axis=0), rtol=1e-5)


def test_batches_depend_on_seed_and_step_alone(experiment):
    gelu, swiglu = grid(experiment)
    arrays = jax.device_put(gelu.task.load().arrays["train"])
    first, again = (cell.task.batch(arrays, 3, 5, 4)["tokens"] for cell in (gelu, swiglu))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, gelu.task.batch(arrays, 3, 6, 4)["tokens"])
    assert not np.array_equal(first, gelu.task.batch(arrays, 4, 5, 4)["tokens"])


@pytest.mark.parametrize("kind", ["map", "vmap"])
def test_a_diverged_run_leaves_its_neighbours_bit_unchanged(cell, kind):
    hot = replace(cell.runs[1], hyperparameters=Hyperparameters(learning_rate=1e30, clip_norm=float("inf")))
    calm_state, calm = trained(cell, execution=Execution(kind, 1))
    state, metrics = trained(cell, [cell.runs[0], hot, cell.runs[2]], Execution(kind, 1))
    assert metrics["not_finite"].tolist()[1] > 0
    for index in (0, 2):
        chex.assert_trees_all_equal(
            jax.tree.map(lambda leaf, i=index: leaf[i], state), jax.tree.map(lambda leaf, i=index: leaf[i], calm_state)
        )
        assert metrics["loss"][index] == calm["loss"][index]


def test_a_diverged_run_is_kept_and_marked(cell, tmp_path):
    hot = Run(7, Hyperparameters(learning_rate=1e30, clip_norm=float("inf")))
    train(cell.model, cell.task, cell.settings, [*cell.runs, hot], tmp_path, cell.task.load())
    rows = CellDirectory(tmp_path).waves()[0].metrics()
    marked = rows[rows["metric"] == "diverged"]
    assert set(marked["seed"]) == {7}
    assert rows[(rows["seed"] == 7) & (rows["split"] == "validation") & (rows["metric"] == "loss")]["step"].max() == 6


def test_accumulated_gradients_equal_those_of_the_whole_batch(cell):
    # With sgd: Adam divides by the gradient's size and so makes the rounding of a gradient near zero a whole step.
    whole = replace(cell, settings=replace(cell.settings, optimizer="sgd"))
    parts = replace(cell, settings=replace(whole.settings, accumulate=2))
    close(trained(parts), trained(whole))


def metrics_of(directory):
    waves = CellDirectory(directory).waves()
    table = pd.concat([wave.metrics() for wave in waves])
    return table.sort_values(["seed", "step", "split", "metric"]).reset_index(drop=True)


def weights_of(directory, cell, steps):
    wave = CellDirectory(directory).waves()[0]
    return checkpoints.restore(wave.checkpoints, steps, program(cell).abstract)[0]


@pytest.mark.parametrize("after", slow_but((2,), (0, 2, 4)))
def test_resumed_equals_uninterrupted_bit_for_bit(cell, tmp_path, after):
    class Killed(Exception):
        pass

    def watch(at, rows):
        if at > after:
            raise Killed

    arguments = (cell.model, cell.task, cell.settings, cell.runs)
    with pytest.raises(Killed):
        train(*arguments, tmp_path / "killed", cell.task.load(), watch=watch)
    train(*arguments, tmp_path / "killed", cell.task.load())
    train(*arguments, tmp_path / "whole", cell.task.load())
    pd.testing.assert_frame_equal(metrics_of(tmp_path / "killed"), metrics_of(tmp_path / "whole"), check_exact=True)
    left, right = (weights_of(tmp_path / name, cell, 6) for name in ("killed", "whole"))
    chex.assert_trees_all_equal(left, right)


def test_a_wave_goes_on_as_it_was_begun(cell, tmp_path):
    def watch(at, rows):
        raise InterruptedError

    arguments = (cell.model, cell.task, cell.settings, cell.runs, tmp_path, cell.task.load())
    with pytest.raises(InterruptedError):
        train(*arguments, Placement("vmap"), watch)
    train(*arguments, Placement("map"))
    (wave,) = CellDirectory(tmp_path).waves()
    assert wave.done
    assert [made["execution"]["kind"] for made in wave.environments] == ["vmap"]


def test_more_seeds_later_equal_all_at_once(cell, tmp_path):
    arguments = (cell.model, cell.task, cell.settings)
    train(*arguments, cell.runs[:2], tmp_path / "later", cell.task.load())
    first = metrics_of(tmp_path / "later")
    train(*arguments, cell.runs, tmp_path / "later", cell.task.load())
    train(*arguments, cell.runs, tmp_path / "once", cell.task.load())
    assert [len(wave.runs) for wave in CellDirectory(tmp_path / "later").waves()].count(2) == 1
    later = metrics_of(tmp_path / "later")
    pd.testing.assert_frame_equal(later, metrics_of(tmp_path / "once"), rtol=2e-5)
    pd.testing.assert_frame_equal(later[later["seed"] < 2].reset_index(drop=True), first, check_exact=True)


def test_what_is_done_is_not_trained_again(cell, tmp_path, monkeypatch):
    arguments = (cell.model, cell.task, cell.settings, cell.runs, tmp_path, cell.task.load())
    train(*arguments)
    monkeypatch.setattr(loop, "Program", None)
    train(*arguments)


def test_evaluated_first_last_and_at_every_interval():
    settings = Settings(steps=7, evaluate_every=3)
    assert list(loop.intervals(settings)) == [(0, 3), (3, 6), (6, 7)]
    assert list(loop.intervals(settings, 6)) == [(6, 7)]
    assert list(loop.intervals(settings, 7)) == []


class Normalized(nn.Module):
    """A model with running statistics, called as the others are."""

    activation: Activation = activation("gelu")

    @nn.compact
    def __call__(self, tokens, mask=None, *, train=False):
        x = nn.Embed(256, 8, name="embed")(tokens)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x)
        return nn.Dense(256, name="head")(self.activation(x))


@pytest.mark.slow
def test_other_collections_are_carried_along(cell):
    state, _ = trained(replace(cell, model=Normalized()))
    means = state.collections["batch_stats"]["norm"]["mean"]
    assert means.shape == (3, 8)
    assert np.all(np.abs(means).max(axis=1) > 1e-3)
    parts = replace(cell, model=Normalized(), settings=replace(cell.settings, accumulate=2))
    assert not np.allclose(trained(parts)[0].collections["batch_stats"]["norm"]["mean"], means)


def test_z_loss_pulls_the_log_normaliser_to_zero():
    logits = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    expected = 0.5 * (np.log(np.exp([1, 2, 3]).sum()) ** 2 + np.log(3) ** 2) * 0.1
    np.testing.assert_allclose(step._z_loss(logits, 0.1), expected, rtol=1e-6)
    assert step._z_loss(logits, 0.0) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(("recorded", "differs"), [("without_dropout", False), ("with_dropout", True)])
def test_the_training_loss_may_be_recorded_without_dropout_and_before_the_update(recorded, differs):
    draw = np.random.default_rng(0)
    images = {"image": draw.integers(0, 256, (8, 2, 2, 1), np.uint8), "label": draw.integers(0, 10, 8).astype(np.int32)}
    arrays = jax.tree.map(jnp.asarray, images)
    model, task = MLP(input_shape=(2, 2, 1), widths=(16,), dropout=0.5), ImageClassification("mnist")
    one = (model, task, Settings(steps=1, batch_size=8, training_loss=recorded))
    rest = (jnp.uint32(0), Hyperparameters(), {"train": arrays})
    state = step.init(*one, *rest)
    _, metrics = jax.jit(partial(step.train_interval, *one))(state, jnp.int32(0), jnp.int32(1), *rest)
    batch = task.batch(arrays, 0, 0, 8)
    expected = task.loss(model.apply({"params": state.parameters}, *task.inputs(batch)), batch)
    assert (abs(float(metrics["loss"] - expected)) > 1e-3) == differs


def test_runs_of_one_program_differ_in_the_constant_of_the_activation(experiment):
    constants = (("hyperparameters.activation_constant", (0.0, 0.75)),)
    wide = replace(experiment, activations=("leaky_relu2",), baseline="leaky_relu2", seeds=(0,), axes=constants)
    wide.check()
    (many,) = grid(wide)
    assert [run.identity["activation_constant"] for run in many.runs] == [0.0, 0.75]
    assert [Run.of(run.identity) for run in many.runs] == list(many.runs)
    state, metrics = trained(many, execution=Execution("vmap", 1))
    held = [
        leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state.parameters) if path[-1].key == step.CONSTANT
    ]
    assert held
    for leaf in held:
        np.testing.assert_array_equal(leaf, [0.0, 0.75])
    (squared,) = grid(replace(experiment, activations=("relu2",), baseline="relu2", seeds=(0,)))
    _, expected = trained(squared, execution=Execution("vmap", 1))
    np.testing.assert_allclose(metrics["loss"][0], expected["loss"][0], rtol=1e-5)
    assert abs(metrics["loss"][1] - metrics["loss"][0]) > 1e-4


def test_a_constant_of_an_activation_without_one_is_refused(experiment):
    given = replace(experiment, hyperparameters=Hyperparameters(activation_constant=0.5))
    with refused("activation_constant", "0.5", "leaky_relu2"):
        given.check()
    with refused("activation_constant", "nan"):
        Hyperparameters(activation_constant=float("nan")).check()
    assert "activation_constant" not in Run(0, Hyperparameters()).identity  # as results from before there was one
