from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

import ablations
from lab.data.dataset import Dataset
from lab.experiment.experiment import Experiment
from lab.tasks.denoising import derived
from lab.tasks.masked import MaskedLanguage
from lab.tasks.spans import SpanCorruption
from lab.training.settings import Hyperparameters, Settings
from models.transformer import EncoderDecoder, Transformer

TASKS = (MaskedLanguage(context=20), SpanCorruption(context=20, span=1.0))
of_both = pytest.mark.parametrize("task", TASKS, ids=("masked", "spans"))


def text(size=1000, seed=0):
    return {"tokens": np.random.default_rng(seed).integers(0, 256, size, np.uint8)}


@of_both
def test_the_batches_of_several_seeds_are_those_of_each_in_numpy_and_on_the_device(task):
    arrays, seeds, step = text(), np.array([0, 7, 2**32 - 1], np.uint32), 10**6
    on_host = task.batch(arrays, seeds[:, None], step, 5)
    over_seeds = jax.jit(jax.vmap(task.batch, in_axes=(None, 0, None, None)), static_argnums=3)
    on_device = over_seeds(arrays, seeds, jnp.int32(step), 5)
    for field, rows in on_host.items():
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == on_device[field].dtype
        np.testing.assert_array_equal(rows, on_device[field])
        for index, seed in enumerate(seeds):
            np.testing.assert_array_equal(rows[index], task.batch(arrays, int(seed), step, 5)[field])


@of_both
def test_the_noise_of_a_window_is_another_whenever_it_comes_up(task):
    one = {"tokens": text()["tokens"][:20]}
    rows = {(seed, step): task.batch(one, seed, step, 2)["tokens"] for seed in range(3) for step in range(5)}
    assert len({tuple(row) for pair in rows.values() for row in pair}) > 20


@of_both
@pytest.mark.parametrize("size", [20, 21, 119, 120])
def test_all_windows_of_a_split_are_evaluated(task, size):
    arrays, count = {"tokens": np.arange(size, dtype=np.uint8)}, -(-size // 20)
    batches = task.evaluation_batches(arrays, 4)
    assert {rows.shape[:2] for rows in batches.values()} == {(-(-count // 4), 4)}
    np.testing.assert_array_equal(batches["weight"].any(axis=-1).ravel(), [True] * count + [False] * (-count % 4))
    rows = [batches[field].reshape(-1, batches[field].shape[-1])[:count] for field in ("tokens", "labels")]
    assert {token for both in rows for token in both.ravel()} >= set(range(size))


@of_both
def test_a_window_is_evaluated_under_the_same_noise_however_many_there_are(task):
    arrays = text(20 * 12)
    whole = replace(task, evaluation_windows=0).evaluation_batches(arrays, 12)
    some = replace(task, evaluation_windows=4).evaluation_batches(arrays, 1)
    for field in ("tokens", "labels", "weight"):
        np.testing.assert_array_equal(some[field][:, 0], whole[field][0, ::3])


@of_both
def test_windows_of_the_same_text_have_noise_of_their_own(task):
    tokens = task.evaluation_batches({"tokens": np.zeros(20 * 40, np.uint8)}, 40)["tokens"][0]
    assert len(np.unique(tokens, axis=0)) > 10


def test_the_loss_and_the_metrics_are_of_what_is_asked_for_alone():
    task = TASKS[0]
    batch = task.batch(text(), 0, 0, 4)
    logits = np.random.default_rng(0).normal(size=(4, 20, 257)).astype(np.float32)
    logits[1, np.arange(20), batch["labels"][1]] = 9.0  # the most likely tokens of one window are the right ones
    row, place = np.nonzero(batch["weight"])
    nats = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, batch["labels"][..., None], -1)[..., 0]
    batch = jax.tree.map(jnp.asarray, batch)
    loss, gradient = jax.jit(jax.value_and_grad(task.loss))(logits, batch)
    np.testing.assert_allclose(loss, nats[row, place].mean(), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient).any(axis=-1), batch["weight"] == 1)
    sums = jax.jit(task.metrics)(logits, batch)
    np.testing.assert_allclose(sums["loss"], [nats[row, place].sum(), 12], rtol=1e-6)
    assert sums["accuracy"] == (3.0, 12.0)


def test_a_batch_that_asks_for_nothing_costs_nothing():
    nothing = {"labels": jnp.zeros((4, 20), jnp.int32), "weight": jnp.zeros((4, 20))}
    assert jax.jit(TASKS[0].loss)(jnp.ones((4, 20, 257)), nothing) == 0.0


def test_derived_seeds_tell_all_their_numbers_and_the_order_of_them_apart():
    seeds = {int(derived(seed, first, second)) for seed in range(10) for first in range(10) for second in range(10)}
    assert len(seeds) == 1000


@of_both
def test_bad_fields_and_a_text_too_short_are_refused(task):
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match=f"rate must lie between 0 and 1, not {rate}"):
            replace(task, rate=rate)
    with pytest.raises(ValueError, match="context must be at least 1 token, not 0"):
        replace(task, context=0)
    with pytest.raises(ValueError, match=r"'stdlb'.*; did you mean 'stdlib'"):
        replace(task, data="stdlb")
    with refused("validation", 19, 20):
        task.check(Dataset({"train": text(), "validation": text(19)}, {}))
    task.check(Dataset({"train": text(20)}, {}))


MODELS = (
    Transformer(architecture="encoder", context=16, d_model=8, n_layers=1, n_heads=2),
    EncoderDecoder(d_model=8, n_layers=1, n_heads=2, positions="relative"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "model"), list(zip(TASKS, MODELS, strict=True)), ids=("masked", "spans"))
def test_an_experiment_runs_from_end_to_end(task, model, corpus, tmp_path):
    task = replace(task, data=corpus, context=16, evaluation_windows=8)
    experiment = Experiment(
        name="denoising",
        question="Does it run?",
        task=task,
        model=model.clone(vocab_size=task.vocab_size),
        activations=("gelu",),
        seeds=(0, 1),
        metric="accuracy",
        settings=Settings(steps=2, batch_size=4),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
    )
    on_device = ablations.run(experiment, tmp_path / "device", quiet=True).rows
    assert {"loss", "accuracy"} <= set(on_device["metric"])
    assert np.isfinite(on_device["value"]).all()
    on_host = ablations.run(experiment, tmp_path / "host", data_on="host", quiet=True).rows
    np.testing.assert_allclose(on_host["value"], on_device["value"], rtol=1e-5)
