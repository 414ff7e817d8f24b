from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

from lab.data.dataset import Dataset
from lab.tasks.tagging import TAGS, WORDS, TweetTagging, neighbours
from lab.tasks.task import Task

DOWNLOADS = Path(__file__).resolve().parents[3] / "shared" / "data" / "downloads"
needs_tweets = pytest.mark.skipif(not DOWNLOADS.exists(), reason="the tweets are not beside the repository")
TASK: Task = TweetTagging()


def test_neighbours_are_of_the_same_tweet():
    word, tweet = np.array([5, 6, 7, 8, 9]), np.array([0, 0, 0, 1, 2])
    out = WORDS
    np.testing.assert_array_equal(
        neighbours(word, tweet, 3), [[out, 5, 6], [5, 6, 7], [6, 7, out], [out, 8, out], [out, 9, out]]
    )
    np.testing.assert_array_equal(neighbours(word, tweet, 5)[0], [out, out, 5, 6, 7])
    np.testing.assert_array_equal(neighbours(word, tweet, 1), word[:, None])


def test_the_metrics_are_those_of_the_words_proper():
    draw = np.random.default_rng(0)
    tags = draw.integers(0, 25, 7).astype(np.int32)
    arrays = {"words": draw.integers(0, WORDS, (7, 3)).astype(np.int32), "tag": tags}
    table = draw.normal(size=(WORDS + 1, 25)).astype(np.float32)
    logits = table[arrays["words"][:, 1]]
    sums = {"loss": 0.0, "token_error": 0.0}
    batches = TASK.evaluation_batches(arrays, 4)
    assert batches["words"].shape == (2, 4, 3)
    for index in range(2):
        batch = {field: jnp.asarray(rows[index]) for field, rows in batches.items()}
        (words,) = TASK.inputs(batch)
        for name, (total, _) in TASK.metrics(jnp.asarray(table)[words[:, 1]], batch).items():
            sums[name] += float(total)
    nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(7), tags]
    np.testing.assert_allclose(sums["loss"], nats.sum(), rtol=1e-5)
    assert sums["token_error"] == (logits.argmax(axis=1) != tags).sum()
    np.testing.assert_allclose(TASK.loss(jnp.asarray(logits), {"tag": jnp.asarray(tags)}), nats.mean(), rtol=1e-5)


def test_bad_fields_and_models_are_refused():
    with refused("context", "odd", 2):
        TweetTagging(context=2)
    with refused((1, 10), (1, 25)):
        TASK.metrics(jnp.zeros((1, 10)), {"tag": jnp.zeros(1, jnp.int32), "weight": jnp.ones(1)})


@pytest.mark.parametrize(
    ("words", "tags", "sentence"),
    [(7, TAGS, "the vocabulary of the tweets has 7 words, not 3941"), (WORDS, 3, "have 3 tags, not 25")],
)
def test_other_tweets_are_refused(words, tags, sentence):
    with pytest.raises(ValueError, match=sentence):
        TASK.check(Dataset({}, {"vocabulary": words, "tags": ["N"] * tags}))


@needs_tweets
def test_the_tweets_have_their_words_tags_and_vocabulary(tmp_path):
    (tmp_path / "downloads").symlink_to(DOWNLOADS)
    dataset = TASK.load(tmp_path)
    TASK.check(dataset)
    sizes = {split: fields["words"].shape for split, fields in dataset.arrays.items()}
    assert sizes == {"train": (14_619, 3), "validation": (4823, 3), "test": (7152, 3)}
    train = dataset.arrays["train"]["words"]
    assert train.max() == WORDS == TASK.vocab_size - 1
    assert (train[:, 1] < WORDS).all()
    assert ((train[:, 0] == WORDS).sum(), (train[:, 2] == WORDS).sum()) == (1000, 1000)
    assert {int(fields["tag"].max()) for fields in dataset.arrays.values()} == {TAGS - 1}
