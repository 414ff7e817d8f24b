"""Slowly-changing regression: the target network, the stream, and training on it as a plain loop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from experiments.plasticity import experiment
from lab.tasks.slowly_changing import SlowlyChanging, Target
from lab.training import step
from lab.training.settings import Hyperparameters

TASK = SlowlyChanging(slow=4, fast=3, period=10, changes=5, units=7, problems=3)
DATA = TASK.load().arrays


@given(seed=st.integers(0, 2**31), bits=st.integers(1, 24))
@settings(max_examples=30, deadline=None)
def test_a_unit_is_on_where_enough_bits_agree_with_the_signs_of_its_weights(seed, bits):
    rng = np.random.default_rng(seed)
    target = Target.drawn(rng, bits, 9)
    assert set(np.unique(target.weights)) | set(target.biases) | set(target.output_weights) <= {-1.0, 1.0}
    x = rng.integers(0, 2, (6, bits)).astype(np.float32)
    agreeing = (x[:, None] == (target.weights > 0)).sum(axis=2)
    on = agreeing + 1.5 * target.biases > 0.7 * (bits + 1)  # half of the bias is in S, as in the published code
    expected = np.where(on, target.output_weights, 0).sum(axis=1) + target.output_bias
    np.testing.assert_allclose(target(x), expected)


def test_the_stream_is_the_target_of_bits_most_of_which_change_rarely():
    xs, ys = (np.concatenate([TASK.batch(DATA["train"], 4, step, 1)[name] for step in range(70)]) for name in "xy")
    slow, fast = xs[:, :4].reshape(7, 10, 4), xs[:, 4:]
    assert (slow == slow[:, :1]).all()
    np.testing.assert_array_equal(slow[:5, 0], DATA["train"]["bits"][1])  # seed 4 has problem 1 of 3
    np.testing.assert_array_equal(slow[5:], slow[:2])  # and the values begin again
    assert len(np.unique(fast, axis=0)) == 8
    target = Target.drawn(np.random.default_rng(1), 7, 7)
    np.testing.assert_array_equal(ys, target(xs))


def test_fast_bits_are_even_and_new_for_every_seed():
    wide = SlowlyChanging(changes=1, problems=2)
    arrays = wide.load().arrays["train"]
    first, other = (wide.batch(arrays, seed, 0, 4000)["x"][:, 15:] for seed in (0, 2))
    np.testing.assert_allclose(first.mean(axis=0), 0.5, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(first.T), np.eye(5), atol=0.08)
    assert 0.45 < (first == other).mean() < 0.55


def test_the_batch_is_the_same_in_numpy_and_jax_and_for_many_seeds():
    def batch(arrays, seed, step, size):
        return TASK.batch(arrays, seed, step, size)

    arrays = DATA["train"]
    many = batch(arrays, np.array([[0], [5]], np.uint32), 9, 4)
    for row, seed in enumerate((0, 5)):
        alone = batch(arrays, seed, 9, 4)
        traced = jax.jit(batch, static_argnums=3)(arrays, np.uint32(seed), np.int32(9), 4)
        for name in ("x", "y"):
            np.testing.assert_array_equal(alone[name], many[name][row])
            np.testing.assert_array_equal(alone[name], traced[name])
            parts = [batch(arrays, seed, step, 1)[name] for step in range(36, 40)]
            np.testing.assert_array_equal(alone[name], np.concatenate(parts))


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_training_is_a_plain_loop_over_examples(name):
    model = experiment.model.clone(input_shape=(7,), activation=name)
    hyperparameters = Hyperparameters(**{**vars(experiment.hyperparameters), "learning_rate": 0.05})
    arrays, steps, seed = DATA["train"], 40, 2
    init, run = (partial(one, model, TASK, experiment.settings) for one in (step.init, step.train_interval))
    given = (np.uint32(seed), hyperparameters, {"train": arrays})
    state = jax.jit(init)(*given)
    params = jax.tree.map(np.asarray, state.parameters)
    _, found = jax.jit(partial(run, each=True))(state, np.int32(0), np.int32(steps), *given)
    np.testing.assert_allclose(found["each_loss"][:steps], plain_loop(name, params, arrays, seed, steps), rtol=2e-4)


def plain_loop(name, params, arrays, seed, steps, rate=0.05):
    """The error of every example before the step of SGD that it causes, with gradients by hand."""
    layers = [params["layer_0"]["up"], params["head"]]
    w, b, v, c = (np.array(layer[kind], np.float64) for layer in layers for kind in ("kernel", "bias"))
    errors = []
    for at in range(steps):
        batch = TASK.batch(arrays, seed, at, 1)
        x, y = batch["x"][0].astype(np.float64), float(batch["y"][0])
        z = x @ w + b
        h, slope = (z.clip(0), (z > 0) * 1.0) if name == "relu" else (np.tanh(z), 1 - np.tanh(z) ** 2)
        apart = float((h @ v + c)[0]) - y
        errors.append(apart**2)
        back = 2 * apart * v[:, 0] * slope
        v -= rate * 2 * apart * h[:, None]
        c -= rate * 2 * apart
        w -= rate * np.outer(x, back)
        b -= rate * back
    return errors


def test_evaluation_is_of_all_inputs_of_one_period():
    batches = TASK.evaluation_batches(DATA["validation"], 3)
    assert batches["weight"].sum() == 8
    total, weight = TASK.metrics(jnp.zeros((3, 1)), jax.tree.map(lambda field: jnp.asarray(field[0]), batches))["loss"]
    np.testing.assert_allclose(total / weight, np.mean(np.square(batches["y"][0])), rtol=1e-6)


@pytest.mark.parametrize(("fields", "words"), [({"period": 0}, ("period", "0")), ({"fast": 20}, ("fast", "20"))])
def test_numbers_out_of_range_are_refused(fields, words):
    with refused(*words):
        SlowlyChanging(**fields)
