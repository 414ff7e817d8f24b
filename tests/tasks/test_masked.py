import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.stats import binomtest, chisquare
from tokenizers import Tokenizer, models, processors

from lab.tasks.masked import MaskedLanguage
from lab.tasks.task import Task
from models.transformer import Transformer

TASK: Task = MaskedLanguage(context=20)
LEVEL = 1e-4  # one false alarm in 10 000, and none in fact: the seeds are fixed


@pytest.fixture
def words(tmp_path):
    """A tokenizer file that has a mask."""
    known = {"[UNK]": 0, "the": 1, "cat": 2, "sat": 3, "[MASK]": 4, "down": 5}
    Tokenizer(models.WordLevel(known, unk_token="[UNK]")).save(str(tmp_path / "words.json"))
    return str(tmp_path / "words.json")


def text(size=1000, seed=0):
    return {"tokens": np.random.default_rng(seed).integers(0, 256, size, np.uint8)}


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), step=st.integers(0, 10**6), context=st.integers(1, 90))
def test_a_share_of_every_window_is_asked_for_and_the_rest_is_as_it_was(seed, step, context):
    task = MaskedLanguage(context=context)
    batch = task.batch(text(), seed, step, 3)
    np.testing.assert_array_equal(batch["weight"].sum(axis=1), max(1, round(0.15 * context)))
    assert set(np.unique(batch["weight"])) <= {0.0, 1.0}
    np.testing.assert_array_equal(batch["tokens"][batch["weight"] == 0], batch["labels"][batch["weight"] == 0])


def test_the_labels_are_windows_of_the_text():
    labels = TASK.batch({"tokens": np.arange(250, dtype=np.uint8)}, 3, 5, 8)["labels"]
    np.testing.assert_array_equal(labels, labels[:, :1] + np.arange(20))


def test_of_the_chosen_tokens_most_are_masked_some_random_and_some_stay():
    task = MaskedLanguage(context=200, vocabulary=50, tokenizer="characters")
    arrays = {"tokens": np.full(100_000, 7, np.uint8)}  # all alike, so that a random one shows: but for one in 50
    batch = task.batch(arrays, 1, 2, 400)
    chosen = batch["tokens"][batch["weight"] == 1]
    count = chosen.size
    assert count == 400 * 30
    assert binomtest(int((chosen == 50).sum()), count, 0.8).pvalue > LEVEL
    assert binomtest(int((chosen == 7).sum()), count, 0.1 + 0.1 / 50).pvalue > LEVEL
    others = np.bincount(chosen[chosen < 50], minlength=50)
    assert chisquare(np.delete(others, 7)).pvalue > LEVEL


def test_all_positions_are_chosen_equally_often_and_independently():
    weight = np.concatenate([TASK.batch(text(), 0, step, 50)["weight"] for step in range(100)])
    assert chisquare(weight.sum(axis=0)).pvalue > LEVEL
    pairs = (weight.T @ weight)[np.triu_indices(20, 1)]
    assert chisquare(pairs).pvalue > LEVEL
    _, seen = np.unique(weight, axis=0, return_counts=True)
    assert len(seen) > 1110  # of the 1140 triples 1126 are expected among 5000 windows


def test_what_was_behind_a_mask_is_not_seen():
    task, arrays = MaskedLanguage(context=20, rate=0.5), text(20)
    batch = task.batch(arrays, 0, 0, 1)
    hidden = batch["tokens"] == 256
    assert hidden.any()
    other = {"tokens": np.where(hidden[0], arrays["tokens"] ^ 1, arrays["tokens"])}
    changed = task.batch(other, 0, 0, 1)
    assert (changed["labels"] != batch["labels"])[hidden].all()
    np.testing.assert_array_equal(changed["tokens"], batch["tokens"])
    (read,) = task.inputs(jax.tree.map(jnp.asarray, batch))
    np.testing.assert_array_equal(read, batch["tokens"])


def test_what_is_told_has_no_gradient_by_what_is_behind_a_mask():
    """The vectors of just the tokens that are read have a gradient; of 40 different bytes none stands twice."""
    task = MaskedLanguage(context=40, rate=0.5)
    batch = jax.tree.map(jnp.asarray, task.batch({"tokens": np.arange(40, dtype=np.uint8)}, 0, 0, 1))
    model = Transformer(
        vocab_size=257, architecture="encoder", context=40, d_model=8, n_layers=1, n_heads=2, tied=False
    )
    params = model.init(jax.random.key(0), *task.inputs(batch))["params"]

    def loss(table):
        own = {**params, "token_embedding": {"embedding": table}}
        return task.loss(model.apply({"params": own}, *task.inputs(batch)), batch)

    slopes = jax.jit(jax.grad(loss))(params["token_embedding"]["embedding"])
    read = set(np.asarray(batch["tokens"]).ravel().tolist())
    assert len(set(range(40)) - read) > 10
    assert set(np.flatnonzero(np.abs(slopes).sum(axis=1)).tolist()) == read


@pytest.mark.parametrize("tokenizer", ["bytes", "characters", "bpe"])
def test_the_mask_is_one_token_more_than_the_tokenizer_has(tokenizer, corpus, tmp_path):
    task = MaskedLanguage(corpus, 16, 4, tokenizer, {"bytes": 0, "characters": 30, "bpe": 300}[tokenizer])
    assert task.vocab_size == {"bytes": 257, "characters": 31, "bpe": 301}[tokenizer]
    dataset = task.load(tmp_path)
    task.check(dataset)
    batch = task.batch(dataset.arrays["train"], 0, 0, 8)
    assert batch["labels"].max() < task.mask == batch["tokens"].max()


@pytest.fixture
def framing(tmp_path):
    """A tokenizer file that puts two tokens before a text and one behind it."""
    known = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "x": 4, "y": 5, "z": 6}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    added = [(token, known[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] [CLS] $A [SEP]", special_tokens=added)
    tokenizer.save(str(tmp_path / "framing.json"))
    return str(tmp_path / "framing.json")


def test_what_the_tokenizer_adds_stands_around_every_window_and_is_not_asked_for(framing):
    task = MaskedLanguage(tokenizer=framing, context=23, evaluation_windows=0)
    arrays = {"tokens": np.random.default_rng(0).integers(4, 7, 97).astype(np.uint8)}
    batch = task.evaluation_batches(arrays, 5)
    whole = np.concatenate([batch["labels"][0, :4, 2:-1].ravel(), batch["labels"][0, 4, 5:-1]])
    np.testing.assert_array_equal(whole, arrays["tokens"])  # end to end, the last moved back into the text
    for fields in (task.batch(arrays, 0, 3, 4), {name: rows[0] for name, rows in batch.items()}):
        for name in ("tokens", "labels"):
            np.testing.assert_array_equal(fields[name][:, [0, 1, -1]], np.tile([1, 1, 2], (len(fields[name]), 1)))
        assert not fields["weight"][:, [0, 1, -1]].any()
        np.testing.assert_array_equal(fields["weight"].sum(axis=1), 3)  # 15 % of 20
    first = np.sort(task.batch({"tokens": np.arange(100, dtype=np.uint8)}, 0, 0, 5)["labels"][:, 2])
    np.testing.assert_array_equal(np.diff(first)[:-1], 20)  # an epoch's windows too, but for the one that is moved back
    with refused("context", 3, "framing.json"):
        MaskedLanguage(tokenizer=framing, context=3)


def test_a_tokenizer_that_adds_tokens_and_has_no_letter_is_refused(tmp_path):
    tokenizer = Tokenizer(models.BPE({"1": 0, "[CLS]": 1}, []))
    tokenizer.save(str(tmp_path / "digits.json"))
    assert MaskedLanguage(tokenizer=str(tmp_path / "digits.json"), context=3).stride == 3
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.save(str(tmp_path / "digits.json"))
    with refused("digits.json", "a"):
        MaskedLanguage(tokenizer=str(tmp_path / "digits.json"), context=3)


def test_a_tokenizer_with_a_mask_of_its_own_needs_no_other(words):
    task = MaskedLanguage(tokenizer=words, context=8)
    assert (task.mask, task.vocab_size) == (4, 6)
    fields = task.noised(np.zeros((20, 8), np.int32), np.arange(20))
    assert set(np.unique(fields["tokens"])) <= set(range(6))
    assert (fields["tokens"][fields["weight"] == 1] == 4).mean() > 0.5
