"""Baselines: equal to their definitions, and to published figures where there are any."""

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from lab.data.dataset import Dataset
from lab.data.reference_predictors import (
    MOST_FEATURES,
    _counts,
    image_predictors,
    label_predictors,
    tag_predictors,
    text_predictors,
)
from lab.data.text.corpora import corpus
from lab.data.text.tweets import tweets

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "downloads"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the real data are not beside the repository")


@pytest.fixture
def real(tmp_path):
    """A data directory whose downloads are the real ones, linked."""
    (tmp_path / "downloads").mkdir()
    for folder in SHARED.iterdir():
        (tmp_path / "downloads" / folder.name).symlink_to(folder)
    return tmp_path


def text(**splits):
    return Dataset({split: {"tokens": np.frombuffer(content, np.uint8)} for split, content in splits.items()}, {})


def test_bytes_and_pairs_are_counted_as_defined():
    train, held_out = b"abracadabra" * 3, b"abrxa"
    counts, pairs = Counter(train), Counter(itertools.pairwise(train))
    unigram = {byte: (counts[byte] + 1) / (len(train) + 256) for byte in range(256)}
    bits = [-math.log2(unigram[byte]) for byte in held_out]
    scores = text_predictors(text(train=train, validation=held_out))
    assert scores["unigram"] == pytest.approx(sum(bits) / 5)
    for before, byte in itertools.pairwise(held_out):
        after = sum(pairs[before, other] for other in range(256))
        bits.append(-math.log2((pairs[before, byte] + unigram[byte]) / (after + 1)))
    assert scores["bigram"] == pytest.approx((bits[0] + sum(bits[5:])) / 5)


@pytest.mark.parametrize("block", [1, 3, 4, 5, 2**24])
def test_counting_in_blocks_loses_no_pair(block):
    tokens = np.frombuffer(b"abcab", np.uint8)
    counts, pairs = _counts(tokens, block)
    assert [counts[byte] for byte in b"abc"] == [2, 2, 1]
    assert [pairs[before, byte] for before, byte in (b"ab", b"bc", b"ca")] == [2, 1, 1]
    assert (counts.sum(), pairs.sum()) == (5, 4)


def test_random_bytes_cannot_be_predicted_and_a_constant_can():
    random = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
    scores = text_predictors(text(train=random, validation=random[::-1]))
    assert all(score == pytest.approx(8, abs=0.05 if name != "bigram" else 0.5) for name, score in scores.items())
    scores = text_predictors(text(train=b"a" * 100_000, validation=b"a" * 100_000))
    assert max(scores.values()) < 0.02


def test_nothing_is_learned_from_the_split_that_is_measured():
    first, second = (text(train=b"abab" * 50, validation=b"abab", test=test) for test in (b"zz" * 9, b"ab" * 9))
    assert text_predictors(first) == text_predictors(second)
    assert text_predictors(first, "test")["bigram"] > text_predictors(second, "test")["bigram"] + 4


@needs_data
def test_the_figures_of_tiny_shakespeare(real):
    scores = text_predictors(corpus("tiny_shakespeare", real))
    assert {name: round(score, 4) for name, score in scores.items()} == pytest.approx(
        {"unigram": 4.8083, "bigram": 3.5686, "gzip": 3.2327, "xz": 3.0416}, abs=0.002
    )


def images_in_line(n, rng, width=4):
    """Two classes whose brightness differs, with noise."""
    label = rng.integers(0, 2, n).astype(np.int32)
    image = (60 + 120 * label[:, None, None, None] + rng.normal(0, 20, (n, width, width, 1))).astype(np.uint8)
    return {"image": image, "label": label}


def test_classes_that_a_line_separates_are_told_apart_and_random_ones_are_not():
    rng = np.random.default_rng(0)
    splits = {"train": images_in_line(400, rng), "validation": images_in_line(200, rng)}
    assert image_predictors(Dataset(splits, {})) == {"nearest_mean": 1.0, "ridge": 1.0}
    for fields in splits.values():
        rng.shuffle(fields["label"])
    assert all(0.4 < score < 0.6 for score in image_predictors(Dataset(splits, {})).values())


def test_ridge_is_least_squares_with_the_penalty():
    rng = np.random.default_rng(1)
    splits = {split: images_in_line(80, rng) for split in ("train", "test")}
    for fields in splits.values():
        fields["image"] = rng.integers(0, 256, fields["image"].shape, np.uint8)
    features, tested = (splits[split]["image"].reshape(80, -1) / 255 for split in ("train", "test"))
    extended = np.concatenate([features, np.ones((80, 1))], axis=1)
    penalty = np.diag([1.0] * 16 + [0.0])
    one_hot = np.eye(2)[splits["train"]["label"]]
    weights = np.linalg.solve(extended.T @ extended + penalty, extended.T @ one_hot)
    predicted = (np.concatenate([tested, np.ones((80, 1))], axis=1) @ weights).argmax(axis=1)
    expected = (predicted == splits["test"]["label"]).mean()
    assert image_predictors(Dataset(splits, {}), "test")["ridge"] == pytest.approx(expected)


def test_ridge_is_left_out_where_it_would_not_fit():
    rng = np.random.default_rng(0)
    side = math.isqrt(MOST_FEATURES) + 1
    splits = {split: images_in_line(4, rng, side) for split in ("train", "validation")}
    assert set(image_predictors(Dataset(splits, {}))) == {"nearest_mean"}


def test_an_unknown_word_gets_the_most_frequent_tag():
    train = {"word": [1, 1, 1, 2, 2, 3, 3], "tag": [4, 4, 0, 2, 2, 2, 2]}
    held_out = {"word": [0, 1, 2, 9], "tag": [2, 4, 0, 2]}
    splits = {
        split: {name: np.array(values, np.int32) for name, values in fields.items()}
        for split, fields in (("train", train), ("validation", held_out))
    }
    assert tag_predictors(Dataset(splits, {})) == {"most_frequent": 0.5, "most_frequent_of_word": 0.75}


@needs_data
def test_the_figures_of_the_tweets(real):
    dataset = tweets(real)
    errors = [1 - score for split in ("validation", "test") for score in tag_predictors(dataset, split).values()]
    assert errors == pytest.approx([0.8443, 0.2436, 0.8528, 0.2392], abs=0.003)  # ties may fall either way


def labelled(texts, labels):
    """Texts of tokens 0 to 3, of different lengths, as arrays."""
    lengths = np.array([len(text) for text in texts])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    tokens = np.zeros(mask.shape, np.uint8)
    tokens[mask] = np.concatenate(texts)
    return {"tokens": tokens, "mask": mask, "label": np.array(labels, np.int32)}


def test_naive_bayes_is_of_the_tokens_counted_and_one_more_of_each():
    rng = np.random.default_rng(0)
    draw = {label: rng.dirichlet(np.ones(4)) for label in range(3)}
    splits, texts = {}, {}
    for split, n in (("train", 20), ("test", 60)):
        labels = rng.choice(3, n, p=[0.2, 0.5, 0.3])
        texts[split] = [rng.choice(4, rng.integers(1, 6), p=draw[label]) for label in labels]
        splits[split] = labelled(texts[split], labels)
    train, right = splits["train"]["label"], 0
    for text, label in zip(texts["test"], splits["test"]["label"], strict=True):
        evidence = []
        for candidate in range(3):
            own = [
                token for known, held in zip(texts["train"], train, strict=True) if held == candidate for token in known
            ]
            evidence.append(math.log((train == candidate).mean()))
            evidence[-1] += sum(math.log((own.count(token) + 1) / (len(own) + 4)) for token in text)
        right += evidence.index(max(evidence)) == label
    scores = label_predictors(Dataset(splits, {"vocabulary": 4}), "test")
    assert scores == {
        "most_frequent": pytest.approx((splits["test"]["label"] == np.bincount(train).argmax()).mean()),
        "naive_bayes": pytest.approx(right / 60),
    }


def test_a_label_that_training_lacks_is_told_of_nothing():
    splits = {"train": labelled([[0, 0], [1, 1, 1]], [0, 2]), "validation": labelled([[0], [1, 1]], [0, 2])}
    assert label_predictors(Dataset(splits, {"vocabulary": 2})) == {"most_frequent": 0.5, "naive_bayes": 1.0}


@pytest.mark.parametrize("baselines", [text_predictors, image_predictors, tag_predictors, label_predictors])
def test_an_unknown_split_names_the_nearest(baselines):
    with refused("split", "valid", "validation"):
        baselines(text(train=b"ab", validation=b"ab"), "valid")


def test_a_text_without_pairs_is_refused():
    with pytest.raises(ValueError, match=r"2 bytes .*not 2 and 1"):
        text_predictors(text(train=b"ab", validation=b"a"))
