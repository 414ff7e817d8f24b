import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from lab.data.order import batch_indices, drawn, shuffled

seeds = st.integers(0, 2**32 - 1)
LEVEL = 1e-4  # one false alarm in 10 000, and none in fact: the seeds are fixed


def orders(size, many, epochs=0):
    """The orders of so many examples for many seeds, or many epochs."""
    return np.asarray(
        jax.jit(jax.vmap(lambda *of: shuffled(jnp.arange(size), size, *of)))(*jnp.broadcast_arrays(many, epochs))
    )


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 3000), seed=seeds, epoch=st.integers(0, 2**31 - 1))
def test_every_example_comes_up_once_an_epoch(size, seed, epoch):
    assert sorted(shuffled(np.arange(size), size, seed, epoch)) == list(range(size))


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 2**20 + 7, 2**31])
def test_numpy_jit_and_vmap_agree(size):
    positions = np.linspace(0, size - 1, 50, dtype=np.int64)
    many, epoch = np.array([0, 1, 2**32 - 1], np.uint32), 5
    expected = np.stack([shuffled(positions, size, seed, epoch) for seed in many])
    one = jax.jit(shuffled, static_argnums=1)
    places = jnp.asarray(positions.astype(np.uint32))
    np.testing.assert_array_equal(np.stack([one(places, size, seed, epoch) for seed in many]), expected)
    together = jax.vmap(lambda seed: shuffled(positions, size, seed, epoch))(jnp.asarray(many))
    np.testing.assert_array_equal(together, expected)
    assert expected.dtype == np.int64
    assert together.dtype == jnp.int32
    assert shuffled(int(positions[7]), size, int(many[2]), epoch) == expected[2, 7]


def test_the_numbers_are_part_of_every_result():
    np.testing.assert_array_equal(shuffled(np.arange(10), 10, 0, 0), [6, 2, 5, 9, 3, 7, 1, 0, 8, 4])
    np.testing.assert_array_equal(shuffled(np.arange(3), 2**31, 1, 2), [1659310288, 346226687, 555447377])


@pytest.mark.parametrize("vary", ["seeds", "epochs"])
def test_all_orders_of_few_examples_are_equally_frequent(vary):
    numbers = jnp.arange(24 * 200)
    found = list(map(tuple, orders(4, numbers, 3) if vary == "seeds" else orders(4, 3, numbers)))
    assert chisquare([found.count(order) for order in itertools.permutations(range(4))]).pvalue > LEVEL


@pytest.mark.parametrize("size", [100, 128])
def test_places_and_distances_are_uniform(size):
    found = orders(size, jnp.arange(1000))
    at_place = np.stack([np.bincount(column, minlength=size) for column in found.T])
    assert chisquare(at_place, axis=None, ddof=2 * size - 2).pvalue > LEVEL
    for gap in (1, 2, size // 2):
        distances = (found[:, gap:] - found[:, :-gap]) % size
        assert chisquare(np.bincount(distances.ravel(), minlength=size)[1:]).pvalue > LEVEL


def test_seeds_and_epochs_are_unrelated():
    size = 20_000
    found = np.vstack([orders(size, *map(jnp.ravel, jnp.indices((4, 4)))), np.arange(size)])
    correlations = np.corrcoef(found)
    assert np.abs(correlations[~np.eye(len(found), dtype=bool)]).max() < 5 / np.sqrt(size)
    for left, right in itertools.combinations(found, 2):
        assert np.count_nonzero(left == right) < 9  # Poisson with mean 1: more than 8 once in 900 000


@pytest.mark.parametrize("batch_size", [1, 4, 10, 23])
def test_batches_draw_without_replacement_and_every_epoch_anew(batch_size):
    drawn = np.concatenate([batch_indices(step, batch_size, 10, 7) for step in range(300 // batch_size)])
    epochs = drawn[: len(drawn) // 10 * 10].reshape(-1, 10)
    assert (np.sort(epochs) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


@pytest.mark.parametrize("step", [3, 2**23 - 1])
def test_batches_are_the_same_inside_jit_for_all_seeds_and_far_into_training(step):
    many = jnp.array([0, 2**32 - 1], jnp.uint32)
    traced = jax.jit(jax.vmap(lambda seed, step: batch_indices(step, 512, 1000, seed), (0, None)))
    expected = [batch_indices(step, 512, 1000, seed) for seed in np.asarray(many)]
    np.testing.assert_array_equal(traced(many, jnp.int32(step)), expected)
    assert (
        expected[0] == shuffled((512 * step + np.arange(512)) % 1000, 1000, 0, (512 * step + np.arange(512)) // 1000)
    ).all()


def test_a_number_is_drawn_for_every_epoch_the_same_in_numpy_and_inside_jit():
    epochs = np.arange(4000)
    numbers = drawn(7, 3, epochs)
    np.testing.assert_array_equal(numbers, jax.jit(drawn, static_argnums=0)(7, jnp.uint32(3), jnp.asarray(epochs)))
    assert chisquare(np.bincount(numbers, minlength=7)).pvalue > LEVEL
    assert (numbers != drawn(7, 4, epochs)).mean() > 0.8


def test_numbers_out_of_range_are_refused():
    for size in (0, 2**31 + 1):
        with pytest.raises(ValueError, match=f"size is {size}: it must be 1 to"):
            shuffled(0, size, 0, 0)
