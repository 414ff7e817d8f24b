"""Texts in turn: which text is read when, and that a network that begins late reads the same."""

import jax
import numpy as np
import pytest
from refusals import refused

from lab.tasks.in_turn import TextsInTurn
from lab.tasks.language import CausalLanguage


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Two corpora of one's own, of different lengths."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    for name, letters, size in (("a", "abcdefgh", 4000), ("b", "ijklmnop", 5000)):
        (folder / f"{name}.txt").write_text("".join(rng.choice(list(letters), size)))
    return tuple(f"text:{folder}/{name}.txt" for name in "ab")


@pytest.fixture(scope="module")
def task(texts):
    return TextsInTurn(texts[0], 8, more=texts[1:], turn_steps=5, turns=6)


@pytest.fixture(scope="module")
def arrays(task):
    return task.load().arrays


def test_every_turn_is_a_plain_text_with_exchanged_bytes(task, texts, arrays):
    plain = [CausalLanguage(name, 8).load().arrays["train"]["tokens"][:3600] for name in texts]
    for turn in range(6):
        for step in (5 * turn, 5 * turn + 4):
            starts = task.training_starts(3600, 3, step, 2)
            expected = plain[turn % 2][task.positions(starts)]
            found = task.batch(arrays["train"], 3, step, 2)["tokens"]
            np.testing.assert_array_equal(found, task.alphabets[turn][expected])


def test_alphabets_are_permutations_new_in_every_round_and_plain_in_the_first(task):
    assert all(sorted(one) == list(range(256)) for one in task.alphabets)
    plain, again, later = task.alphabets[:2], task.alphabets[2:4], task.alphabets[4:]
    assert (plain == np.arange(256)).all()
    assert (again[0] == again[1]).all()  # both corpora, so that it is one language
    assert (again[0] == later[0]).mean() < 0.1
    assert (again[0] == np.arange(256)).mean() < 0.1


@pytest.mark.parametrize("turn", [1, 4])
def test_a_network_that_begins_with_a_turn_reads_the_windows_of_that_turn(task, arrays, turn):
    late = TextsInTurn(task.data, 8, more=task.more, turn_steps=5, first=turn, turns=1)
    own = late.load().arrays["train"]
    for step in range(5):
        expected = task.batch(arrays["train"], 7, 5 * turn + step, 3)["tokens"]
        np.testing.assert_array_equal(late.batch(own, 7, step, 3)["tokens"], expected)


def test_the_last_turn_goes_on(task, arrays):
    tokens = task.batch(arrays["train"], 0, 1000, 2)["tokens"]
    assert set(tokens.ravel()) <= set(task.alphabets[5][np.frombuffer(b"ijklmnop", np.uint8)])


def test_what_is_held_out_is_the_text_of_the_last_turn(task, texts, arrays):
    plain = CausalLanguage(texts[1], 8).load().arrays
    for split in ("validation", "test"):
        np.testing.assert_array_equal(arrays[split]["tokens"], task.alphabets[5][plain[split]["tokens"]])
    assert task.evaluation_batches(arrays["validation"], 4)["tokens"].shape[2] == 9


def test_the_batch_is_the_same_in_jax_and_for_many_seeds(task, arrays):
    many = task.batch(arrays["train"], np.array([[1], [2]], np.uint32), 11, 3)["tokens"]
    traced = jax.jit(lambda arrays, seed, step: task.batch(arrays, seed, step, 3)["tokens"])
    for row, seed in zip(many, (1, 2), strict=True):
        np.testing.assert_array_equal(row, traced(arrays["train"], np.uint32(seed), np.int32(11)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"turns": 0}, ("turns", "0")),
        ({"first": -1}, ("first", "-1")),
        ({"tokenizer": "characters", "vocabulary": 100}, ("tokenizer", "characters", "bytes")),
        ({"documents": "packed"}, ("documents", "packed", "joined")),
        ({"more": ("stdlbi",)}, ("stdlbi", "stdlib")),
    ],
)
def test_what_is_not_allowed_is_refused(fields, words):
    with refused(*words):
        TextsInTurn(**fields)
