import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.stats import chisquare
from tokenizers import Tokenizer, models

from lab.tasks.spans import SpanCorruption
from lab.tasks.task import Task
from models.transformer import EncoderDecoder

TASK: Task = SpanCorruption(context=40)  # 6 tokens in 2 spans
LEVEL = 1e-4  # one false alarm in 10 000, and none in fact: the seeds are fixed


@pytest.fixture
def sentinels(tmp_path):
    """A tokenizer file in the manner of T5's."""
    known = {"<unk>": 0, "<pad>": 1, "</s>": 2, "cat": 3, "<extra_id_2>": 4, "<extra_id_1>": 5, "<extra_id_0>": 6}
    Tokenizer(models.WordLevel(known, unk_token="<unk>")).save(str(tmp_path / "words.json"))
    return str(tmp_path / "words.json")


def text(size=1000, seed=0):
    return {"tokens": np.random.default_rng(seed).integers(0, 256, size, np.uint8)}


def split(task, tokens):
    """The sentinels of a text, and the tokens before, between and behind them; its end, which it must have, is left
    out."""
    assert tokens[-1] == task.end
    at = np.flatnonzero(tokens > task.end)
    between = np.split(tokens[:-1], at)
    return tokens[at].tolist(), [between[0].tolist(), *(part[1:].tolist() for part in between[1:])]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(0, 10**6),
    context=st.integers(2, 90),
    rate=st.floats(0.01, 0.5),
    span=st.floats(1.5, 8),
)
def test_input_and_target_together_are_the_window(seed, step, context, rate, span):
    task = SpanCorruption(context=context, rate=rate, span=span)
    batch = task.batch({"tokens": np.arange(250, dtype=np.uint8)}, seed, step, 2)
    assert batch["tokens"].shape == (2, task.input_length)
    assert batch["labels"].shape == batch["weight"].shape == (2, task.target_length)
    assert (batch["weight"] == 1).all()
    for tokens, labels in zip(batch["tokens"], batch["labels"], strict=True):
        (sentinels, (*stays, last)), (same, (first, *spans)) = split(task, tokens), split(task, labels)
        assert sentinels == same == list(range(task.vocab_size - 1, task.end, -1))
        assert len(stays) == len(spans) == task.spans
        assert all(stays)
        assert all(spans)
        assert first == last == []
        window = [token for pair in zip(stays, spans, strict=True) for part in pair for token in part]
        assert window == list(range(window[0], window[0] + context))


def test_the_lengths_are_those_of_the_paper():
    task = SpanCorruption(context=568)
    assert (task.removed, task.spans, task.input_length, task.target_length) == (85, 28, 512, 114)
    assert task.vocab_size == 256 + 2 + 28


def test_every_partition_into_spans_is_equally_likely():
    task = SpanCorruption(context=12, rate=0.5, span=2.0)  # 6 and 6 tokens in 3 parts each, of math.comb(5, 2) ways
    batch = task.batch({"tokens": np.zeros(12, np.uint8)}, 0, 0, 20_000)
    _, counts = np.unique(np.concatenate([batch["tokens"], batch["labels"]], axis=1), axis=0, return_counts=True)
    assert len(counts) == math.comb(5, 2) ** 2
    assert chisquare(counts).pvalue > LEVEL


def test_the_decoder_reads_what_it_has_been_asked_for_and_nothing_later():
    batch = jax.tree.map(jnp.asarray, TASK.batch(text(), 0, 0, 2))
    tokens, before = TASK.inputs(batch)
    np.testing.assert_array_equal(tokens, batch["tokens"])
    np.testing.assert_array_equal(before[:, 0], TASK.start)
    np.testing.assert_array_equal(before[:, 1:], batch["labels"][:, :-1])
    model = EncoderDecoder(vocab_size=TASK.vocab_size, d_model=4, n_layers=1, n_heads=1)

    @jax.jit
    def say(labels):
        return model.init_with_output(jax.random.key(0), *TASK.inputs({**batch, "labels": labels}))[0]

    labels = np.asarray(batch["labels"])
    logits = np.asarray(say(labels))
    for place in (0, 3, TASK.target_length - 2):
        other = np.where(np.arange(TASK.target_length) == place, (labels + 1) % 256, labels)
        changed = np.asarray(say(other))
        np.testing.assert_array_equal(changed[:, : place + 1], logits[:, : place + 1])
        assert (changed[:, place + 1] != logits[:, place + 1]).any()


def test_what_is_told_has_a_gradient_by_what_was_read_and_nothing_later():
    """At every place the vectors of just the encoder's tokens and of the decoder's so far; no byte stands twice."""
    batch = jax.tree.map(jnp.asarray, TASK.batch({"tokens": np.arange(40, dtype=np.uint8)}, 0, 0, 1))
    tokens, before = TASK.inputs(batch)
    model = EncoderDecoder(vocab_size=TASK.vocab_size, d_model=8, n_layers=1, n_heads=2, tied=False)
    params = model.init(jax.random.key(0), tokens, before)["params"]

    def told(table):
        own = {**params, "token_embedding": {"embedding": table}}
        return model.apply({"params": own}, tokens, before)[0] @ jnp.sin(jnp.arange(TASK.vocab_size))

    slopes = np.abs(jax.jit(jax.jacrev(told))(params["token_embedding"]["embedding"])).sum(axis=-1)
    seen, said = set(batch["tokens"].ravel().tolist()), [TASK.start, *batch["labels"].ravel().tolist()]
    for place, slope in enumerate(slopes):
        assert set(np.flatnonzero(slope).tolist()) == seen | set(said[: place + 1])
    assert set(said) - seen


def test_what_is_cut_out_is_not_seen_by_the_encoder():
    arrays = {"tokens": np.arange(40, dtype=np.uint8)}
    batch = TASK.batch(arrays, 0, 0, 1)
    gone = np.setdiff1d(np.arange(40), batch["tokens"])
    assert len(gone) == 6
    other = {"tokens": np.where(np.isin(arrays["tokens"], gone), 200, arrays["tokens"]).astype(np.uint8)}
    changed = TASK.batch(other, 0, 0, 1)
    np.testing.assert_array_equal(changed["tokens"], batch["tokens"])
    assert (changed["labels"] != batch["labels"]).sum() == 6


@pytest.mark.parametrize("tokenizer", ["bytes", "characters", "bpe"])
def test_start_end_and_sentinels_come_after_the_tokens(tokenizer, corpus, tmp_path):
    task = SpanCorruption(corpus, 40, 4, tokenizer, {"bytes": 0, "characters": 30, "bpe": 300}[tokenizer])
    own = {"bytes": 256, "characters": 30, "bpe": 300}[tokenizer]
    assert (task.start, task.end, task.vocab_size) == (own, own + 1, own + 4)
    dataset = task.load(tmp_path)
    task.check(dataset)
    batch = task.batch(dataset.arrays["train"], 0, 0, 8)
    for field in ("tokens", "labels"):
        assert batch[field].max() == task.vocab_size - 1
        assert (batch[field] != task.start).all()
        assert ((batch[field] < own).sum(axis=1) == batch[field].shape[1] - 3).all()


def test_bad_fields_are_refused_when_the_task_is_made():
    with pytest.raises(ValueError, match=r"span must be at least 1 token, not 0\.5"):
        SpanCorruption(span=0.5)
    with refused("context", 2, 1):
        SpanCorruption(context=1)
    with refused("rate", 0.8, "span", 80, 20):
        SpanCorruption(context=100, rate=0.8, span=1.0)


def test_a_tokenizer_with_sentinels_of_its_own_needs_no_others(sentinels):
    task = SpanCorruption(tokenizer=sentinels, context=40)
    assert (task.start, task.end, task.sentinel, task.vocab_size) == (1, 2, 6, 7)
    fields = task.noised(np.zeros(40, np.int32), np.int32(3))
    assert [token for token in fields["tokens"] if token > 3] == [6, 5]
    assert [token for token in fields["labels"] if token > 3] == [6, 5]
    assert fields["tokens"][-1] == fields["labels"][-1] == 2
