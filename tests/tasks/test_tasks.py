import itertools
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from lab.data.dataset import Dataset
from lab.tasks.language import CausalLanguage
from lab.tasks.task import Stream, Task, stream_key
from models.layers.logits import Logits

TASK: Task = CausalLanguage(context=8)


def of_bytes(tokens):
    return {"tokens": tokens, "bytes": np.ones_like(tokens)}


def corpus_of(size, seed=0):
    return of_bytes(np.random.default_rng(seed).integers(0, 256, size, np.uint8))


def counting(size):
    """A text in which every byte tells its place (modulo 256)."""
    return of_bytes(np.arange(size).astype(np.uint8))


def bigram_table():
    """Logits of the next byte given the last one: a fixed, arbitrary model."""
    return np.random.default_rng(7).normal(size=(256, 256)).astype(np.float32)


def bigram_nats():
    """-log p of every byte given the last one under that model, in double precision."""
    logits = bigram_table().astype(np.float64)
    return np.log(np.exp(logits).sum(axis=1, keepdims=True)) - logits


def unstacked(batches):
    """The batches one by one, on the device."""
    return [
        {field: jnp.asarray(rows[index]) for field, rows in batches.items()} for index in range(len(batches["tokens"]))
    ]


def test_the_streams_of_a_run_have_keys_of_their_own():
    keys = [stream_key(seed, stream, step) for seed in (0, 1) for stream in Stream for step in (0, 1)]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == len(keys)


def test_a_batch_is_a_function_of_seed_and_step_alone():
    arrays = corpus_of(1000)
    batch = jax.jit(TASK.batch, static_argnums=3)
    first = np.asarray(batch(arrays, 3, 5, 4)["tokens"])
    np.testing.assert_array_equal(first, TASK.batch(jax.tree.map(jnp.asarray, arrays), 3, 5, 4)["tokens"])
    for seed, step in ((3, 6), (4, 5), (5, 3)):
        assert (np.asarray(batch(arrays, seed, step, 4)["tokens"]) != first).any()


def test_batches_of_vmapped_seeds_are_those_of_the_seeds_alone():
    arrays = jax.tree.map(jnp.asarray, corpus_of(1000))
    seeds = jnp.arange(3)
    together = jax.vmap(lambda seed: TASK.batch(arrays, seed, 2, 4)["tokens"])(seeds)
    alone = [TASK.batch(arrays, seed, 2, 4)["tokens"] for seed in seeds]
    np.testing.assert_array_equal(together, np.stack(alone))


def epoch_of(task, arrays, seed, epoch, dtype=np.int64):
    """The starts of all windows of an epoch in a text in which every token tells its place."""
    size = math.ceil((len(arrays["tokens"]) - 1) / task.context)
    windows = task.batch(arrays, seed, epoch, size)["tokens"].astype(dtype)
    np.testing.assert_array_equal(windows, windows[:, :1] + np.arange(task.context + 1))
    return windows[:, 0]


@settings(max_examples=100, deadline=None)
@given(size=st.integers(2, 250), context=st.integers(1, 20), epoch=st.integers(0, 100))
def test_an_epoch_predicts_every_token_but_a_few_at_the_start_once(size, context, epoch):
    task = CausalLanguage(context=min(context, size - 1))
    starts = np.sort(epoch_of(task, counting(size), 3, epoch))
    assert 0 <= starts[0] < task.context
    assert (np.diff(starts) <= task.context).all()
    assert starts[-1] == size - 1 - task.context or starts[-1] + task.context <= size - 1
    assert (np.diff(starts) == task.context).sum() >= len(starts) - 3  # windows at the end are moved back into the text
    assert size - 1 - (starts[-1] + task.context) < task.context


def test_windows_start_everywhere_in_an_order_of_each_epoch():
    epochs = [epoch_of(TASK, counting(8 * 12 + 1), 0, epoch) for epoch in range(60)]
    assert set(np.concatenate(epochs)) == set(range(8 * 11 + 1))
    assert len({tuple(np.argsort(starts)) for starts in epochs}) > 50


def test_a_batch_in_numpy_is_the_one_of_the_device():
    for task in (TASK, CausalLanguage(context=8, documents="masked")):
        arrays = corpus_of(1000)
        arrays["tokens"] = np.where(arrays["tokens"] < 40, 256, arrays["tokens"].astype(np.uint16))
        for seed, step in ((0, 0), (2**32 - 1, 10**6)):
            on_host = task.batch(arrays, np.uint32(seed), step, 5)
            on_device = jax.jit(task.batch, static_argnums=3)(arrays, jnp.uint32(seed), jnp.int32(step), 5)
            assert {type(field) for field in on_host.values()} == {np.ndarray}
            jax.tree.map(np.testing.assert_array_equal, on_host, jax.tree.map(np.asarray, on_device))


def test_the_target_of_every_input_is_the_byte_after_it():
    windows = jnp.asarray(counting(9)["tokens"])[None, :]
    (inputs,) = TASK.inputs({"tokens": windows})
    assert inputs.dtype == jnp.int32
    sure = 1e4 * jax.nn.one_hot(inputs + 1, 256)
    assert float(TASK.loss(sure, {"tokens": windows})) == 0.0
    assert float(TASK.loss(jax.nn.one_hot(inputs, 256), {"tokens": windows})) > 5


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_uniform_logits_cost_eight_bits_in_f32(dtype):
    batch = TASK.batch(jax.tree.map(jnp.asarray, corpus_of(100)), 0, 0, 2)
    loss = TASK.loss(jnp.full((2, 8, 256), 3.0, dtype), batch)
    assert loss.dtype == jnp.float32
    summary = TASK.summary({"loss": loss})
    np.testing.assert_allclose(summary["bits_per_byte"], 8.0, rtol=1e-6)
    np.testing.assert_allclose(summary["perplexity"], 256.0, rtol=1e-5)


@settings(max_examples=200, deadline=None)
@given(size=st.integers(2, 120), context=st.integers(1, 17), batch_size=st.integers(1, 7))
def test_all_windows_predict_every_byte_but_the_first_exactly_once(size, context, batch_size):
    arrays = corpus_of(size)
    nats = bigram_nats()
    expected = sum(nats[last, following] for last, following in itertools.pairwise(arrays["tokens"]))
    batches = CausalLanguage(context=context, evaluation_windows=0).evaluation_batches(arrays, batch_size)
    n_batches = math.ceil(math.ceil((size - 1) / context) / batch_size)
    assert batches["tokens"].shape == (n_batches, batch_size, context + 1)
    assert batches["weight"].sum() == size - 1
    losses = nats[batches["tokens"][..., :-1], batches["tokens"][..., 1:]]
    np.testing.assert_allclose((batches["weight"] * losses).sum(), expected, rtol=1e-6)


def test_the_metrics_are_sums_over_real_targets():
    batches = TASK.evaluation_batches(corpus_of(20), 4)
    batch = {field: jnp.asarray(rows[0]) for field, rows in batches.items()}
    windows, weight = batches["tokens"][0], batches["weight"][0]
    assert 0 < weight.sum() < weight.size
    total, count = TASK.metrics(jnp.asarray(bigram_table()[windows[:, :-1]]), batch)["loss"]
    np.testing.assert_allclose(total, (weight * bigram_nats()[windows[:, :-1], windows[:, 1:]]).sum(), rtol=1e-6)
    assert count == weight.sum()


@pytest.mark.parametrize("windows", [0, 3])
def test_bits_per_byte_are_the_nats_of_the_targets_over_their_bytes(windows):
    task = CausalLanguage(context=8, evaluation_windows=windows)
    arrays = corpus_of(100) | {"bytes": np.random.default_rng(1).integers(0, 9, 100)}
    batches = task.evaluation_batches(arrays, 4)
    sums = [task.metrics(jnp.asarray(bigram_table()[batch["tokens"][:, :-1]]), batch) for batch in unstacked(batches)]
    totals = jax.tree.map(lambda *parts: sum(parts), *sums)
    summary = task.summary({name: total / count for name, (total, count) in totals.items()})
    chosen = (
        np.flatnonzero(np.ones(99))
        if windows == 0
        else np.concatenate([[*range(8)], [*range(32, 40)], [*range(64, 72)]])
    )
    nats = bigram_nats()[arrays["tokens"][chosen], arrays["tokens"][chosen + 1]].sum()
    expected = nats / arrays["bytes"][chosen + 1].sum() / math.log(2)
    np.testing.assert_allclose(summary["bits_per_byte"], expected, rtol=1e-5)
    np.testing.assert_allclose(summary["perplexity"], np.exp(nats / len(chosen)), rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_some_windows_are_spread_evenly_and_do_not_depend_on_the_batch_size(batch_size):
    task = CausalLanguage(context=8, evaluation_windows=5)
    batches = task.evaluation_batches(counting(8 * 20 + 4), batch_size)
    real = batches["weight"].reshape(-1, 8).any(axis=1)
    starts = batches["tokens"].reshape(-1, 9)[real, 0]
    np.testing.assert_array_equal(starts, [0, 8 * 4, 8 * 8, 8 * 12, 8 * 16])
    assert batches["weight"].sum() == 5 * 8


def test_what_is_predicted_for_padding_has_no_influence():
    batches = TASK.evaluation_batches(corpus_of(20), 4)
    batch = {field: jnp.asarray(rows[0]) for field, rows in batches.items()}
    outputs = bigram_table()[batches["tokens"][0][:, :-1]]
    noise = (batches["weight"][0] == 0)[..., None] * np.arange(256, dtype=np.float32)
    assert noise.any()
    first = TASK.metrics(jnp.asarray(outputs), batch)["loss"]
    second = TASK.metrics(jnp.asarray(outputs + noise), batch)["loss"]
    np.testing.assert_array_equal(np.array(first), np.array(second))


def test_bits_per_byte_is_the_loss_in_bits():
    means = {"loss": np.array([math.log(2), math.log(16)])}
    np.testing.assert_allclose(TASK.summary(means)["bits_per_byte"], [1.0, 4.0])
    np.testing.assert_array_equal(TASK.summary(means)["loss"], means["loss"])


def test_a_context_longer_than_the_shortest_split_is_refused():
    dataset = Dataset({"train": corpus_of(100), "validation": corpus_of(9)}, {})
    CausalLanguage(context=8).check(dataset)
    with refused("context", 9, "stdlib", "validation"):
        CausalLanguage(context=9).check(dataset)


def test_a_text_of_more_windows_than_32_bits_count_is_refused():
    endless = np.broadcast_to(np.zeros(1, np.uint8), 8 * 2**31 + 2)
    with refused(17179869186, "2**31", 8):
        TASK.check(Dataset({"train": {"tokens": endless}}, {}))
    TASK.check(Dataset({"train": {"tokens": endless[1:]}}, {}))


def test_a_text_beyond_32_bit_positions_is_read_on_the_host():
    endless = np.broadcast_to(np.zeros(1, np.uint8), 2**33)
    assert TASK.batch({"tokens": endless}, 0, 12345, 4)["tokens"].shape == (4, 9)


@pytest.mark.parametrize("chunk", [None, 3])
def test_the_log_normalizer_is_the_root_mean_square_over_real_targets(chunk):
    batches = TASK.evaluation_batches(corpus_of(20), 4)
    batch = {field: jnp.asarray(rows[0]) for field, rows in batches.items()}
    hidden = jnp.asarray(np.random.default_rng(1).normal(size=(4, 8, 5)), jnp.float32)
    kernel = jnp.asarray(np.random.default_rng(2).normal(size=(5, 256)), jnp.float32)
    logits = Logits(hidden, kernel, None, None, chunk) if chunk else hidden @ kernel
    means = {name: total / count for name, (total, count) in TASK.metrics(logits, batch).items()}
    log_z = np.log(np.exp(np.asarray(hidden @ kernel, np.float64)).sum(axis=-1))
    real = np.asarray(batch["weight"]) > 0
    summary = TASK.summary(means)
    np.testing.assert_allclose(summary["log_normalizer"], np.sqrt(np.mean(log_z[real] ** 2)), rtol=1e-5)
    assert "squared_log_normalizer" not in summary


def test_a_huge_loss_has_a_finite_perplexity_and_no_loss_has_none():
    perplexity = TASK.summary({"loss": np.array([1000.0, np.nan], np.float32)})["perplexity"]
    assert np.isfinite(perplexity[0])
    assert np.isnan(perplexity[1])


def test_segments_are_the_documents_of_a_window():
    task = CausalLanguage(context=6, documents="masked")
    assert task.vocab_size == 257
    arrays = {"tokens": np.array([256, 1, 2, 256, 3, 256, 4, 5, 6, 7, 8, 9, 256], np.uint16)}
    arrays["bytes"] = (arrays["tokens"] != 256).astype(np.int32)
    batches = task.evaluation_batches(arrays, 2)
    np.testing.assert_array_equal(batches["segments"], [[[1, 1, 1, 2, 2, 3], [0, 0, 0, 0, 0, 0]]])
    assert batches["segments"].dtype == np.int32
    assert task.batch(arrays, 0, 0, 3)["segments"].shape == (3, 6)
    for documents in ("joined", "packed"):
        assert "segments" not in CausalLanguage(context=6, documents=documents).batch(arrays, 0, 0, 3)


def test_bad_fields_are_refused_when_the_task_is_made():
    with pytest.raises(ValueError, match="context must be at least 1 token, not 0"):
        CausalLanguage(context=0)
    with pytest.raises(ValueError, match="evaluation_windows must be 0"):
        CausalLanguage(evaluation_windows=-1)
    with pytest.raises(ValueError, match=r"'stdlb'.*; did you mean 'stdlib'"):
        CausalLanguage("stdlb")
    with refused("documents", "pack", "packed"):
        CausalLanguage(documents="pack")


def test_tasks_are_values():
    assert hash(CausalLanguage(context=64)) == hash(CausalLanguage(context=64))
    assert CausalLanguage(context=64) != CausalLanguage(context=32)


def test_a_task_is_made_without_importing_tfds():
    code = "import sys; from lab.tasks.language import CausalLanguage; print('tensorflow_datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
