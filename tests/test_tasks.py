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

from tasks.language import CausalLanguage
from tasks.task import Dataset, Stream, Task, stream_key

TASK: Task = CausalLanguage(context=8)


def corpus_of(size, seed=0):
    return {"tokens": np.random.default_rng(seed).integers(0, 256, size, np.uint8)}


def counting(size):
    """A text in which every byte tells its place (modulo 256)."""
    return {"tokens": np.arange(size).astype(np.uint8)}


def bigram_table():
    """Logits of the next byte given the last one: a fixed, arbitrary model."""
    return np.random.default_rng(7).normal(size=(256, 256)).astype(np.float32)


def bigram_nats():
    """-log p of every byte given the last one under that model, in double precision."""
    logits = bigram_table().astype(np.float64)
    return np.log(np.exp(logits).sum(axis=1, keepdims=True)) - logits


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


def test_windows_are_contiguous_and_start_everywhere_they_can():
    arrays = jax.tree.map(jnp.asarray, counting(8 + 3))
    windows = np.asarray(TASK.batch(arrays, 0, 0, 200)["tokens"])
    assert windows.shape == (200, 9)
    np.testing.assert_array_equal(windows, windows[:, :1] + np.arange(9))
    assert set(windows[:, 0]) == {0, 1, 2}


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
    np.testing.assert_allclose(TASK.summary({"loss": loss})["bits_per_byte"], 8.0, rtol=1e-6)


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
    with pytest.raises(ValueError, match="context 9 does not fit stdlib: its validation split has 9 bytes"):
        CausalLanguage(context=9).check(dataset)


def test_a_text_beyond_32_bit_positions_is_refused():
    endless = np.broadcast_to(np.zeros(1, np.uint8), 2**31)
    with pytest.raises(ValueError, match=r"split of 2147483648 bytes; at most 2\*\*31 - 1"):
        TASK.check(Dataset({"train": {"tokens": endless}}, {}))


def test_bad_fields_are_refused_when_the_task_is_made():
    with pytest.raises(ValueError, match="context must be at least 1 byte, not 0"):
        CausalLanguage(context=0)
    with pytest.raises(ValueError, match="evaluation_windows must be 0"):
        CausalLanguage(evaluation_windows=-1)
    with pytest.raises(ValueError, match="not 'stdlb', did you mean 'stdlib'"):
        CausalLanguage("stdlb")


def test_tasks_are_values():
    assert hash(CausalLanguage(context=64)) == hash(CausalLanguage(context=64))
    assert CausalLanguage(context=64) != CausalLanguage(context=32)


def test_a_task_is_made_without_importing_tfds():
    code = (
        "import sys; from tasks.language import CausalLanguage as T; T(); print('tensorflow_datasets' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
