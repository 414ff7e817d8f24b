"""Reference predictors, which are not networks, for text, images, tags and labels of texts."""

import gzip
import lzma

import numpy as np

from lab.data.dataset import SPLITS, Dataset
from lab.files.choices import check_choice

RIDGE = 1.0  # for pixels from 0 to 1
MOST_FEATURES = 4096  # 32 x 32 x 3 is 3072; the normal equations of more need gigabytes

Scores = dict[str, float]


def text_predictors(dataset: Dataset, split: str = "validation") -> Scores:
    """Bits per byte of a corpus (`tokens`, uint8 [n]) on a split.

    - `unigram`: byte counts of train, with add-one smoothing over the 256 bytes.
    - `bigram`: pair counts of train, smoothed with the unigram: p(b | a) = (n(a, b) + p(b)) / (n(a) + 1).
    - `gzip`, `xz`: the split alone, compressed at level 9, without using train.

    Raises ValueError for an unknown split, or one with fewer than two bytes.
    """
    train, held_out = (dataset.arrays[name]["tokens"] for name in ("train", check_split(split)))
    if min(train.size, held_out.size) < 2:
        raise ValueError(
            f"reference predictors need at least 2 bytes of train and {split}, not {train.size} and {held_out.size}"
        )
    counts, pairs = _counts(train)
    unigram = (counts + 1) / (train.size + 256)
    bigram = (pairs + unigram) / (pairs.sum(axis=1, keepdims=True) + 1)
    tested, tested_pairs = _counts(held_out)
    first = np.log2(unigram[held_out[0]])  # has no preceding byte
    content = held_out.tobytes()
    return {
        "unigram": float(-(tested * np.log2(unigram)).sum() / held_out.size),
        "bigram": float(-(first + (tested_pairs * np.log2(bigram)).sum()) / held_out.size),
        "gzip": 8 * len(gzip.compress(content, 9)) / len(content),
        "xz": 8 * len(lzma.compress(content, preset=9)) / len(content),
    }


def image_predictors(dataset: Dataset, split: str = "validation") -> Scores:
    """The accuracy, 0 to 1, of linear image classifiers fitted on train, evaluated on a split.

    - `nearest_mean`: the class whose mean image on train is nearest.
    - `ridge`: least squares from pixels (0 to 1) and a constant to one-hot labels, with penalty `RIDGE` on all weights
      but the constant's (Hastie et al. 2009, section 3.4.1); omitted above `MOST_FEATURES` values per image.

    Raises ValueError for an unknown split.
    """
    train, held_out = dataset.arrays["train"], dataset.arrays[check_split(split)]
    features, labels = _pixels(train["image"]), train["label"]
    one_hot = np.eye(1 + labels.max(), dtype=np.float32)[labels]
    means = one_hot.T @ features / np.maximum(one_hot.sum(axis=0), 1)[:, None]
    tested = _pixels(held_out["image"])
    distances = (means**2).sum(axis=1)[None, :] - 2 * tested @ means.T
    scores = {"nearest_mean": _accuracy(distances.argmin(axis=1), held_out["label"])}
    if features.shape[1] <= MOST_FEATURES:
        centre, prior = features.mean(axis=0), one_hot.mean(axis=0)
        centred = features - centre[None, :]
        gram = centred.T @ centred + RIDGE * np.eye(len(centre))
        weights = np.linalg.solve(gram, centred.T @ (one_hot - prior[None, :]))
        predicted = (tested - centre[None, :]) @ weights + prior[None, :]
        scores["ridge"] = _accuracy(predicted.argmax(axis=1), held_out["label"])
    return scores


def tag_predictors(dataset: Dataset, split: str = "validation") -> Scores:
    """The accuracy, 0 to 1, of taggers (`word`, `tag`, int32 [n]) counted on train, evaluated on a split.

    - `most_frequent`: the overall most frequent tag.
    - `most_frequent_of_word`: the most frequent tag of the word on train; for unknown words, the overall one.

    Raises ValueError for an unknown split.
    """
    train, held_out = dataset.arrays["train"], dataset.arrays[check_split(split)]
    n_words = 1 + max(fields["word"].max() for fields in (train, held_out))
    counts = np.zeros((n_words, 1 + train["tag"].max()), np.int64)
    np.add.at(counts, (train["word"], train["tag"]), 1)
    overall = counts.sum(axis=0).argmax()
    of_word = np.where(counts.any(axis=1), counts.argmax(axis=1), overall)
    return {
        "most_frequent": float((held_out["tag"] == overall).mean()),
        "most_frequent_of_word": _accuracy(of_word[held_out["word"]], held_out["tag"]),
    }


def label_predictors(dataset: Dataset, split: str = "validation") -> Scores:
    """The accuracy, 0 to 1, of text classifiers (`tokens` and `mask` [n, context], `label` [n]) on a split.

    - `most_frequent`: the most frequent label of train.
    - `naive_bayes`: the multinomial classifier (McCallum and Nigam 1998, "A comparison of event models for naive Bayes
      text classification"): token counts per label on train, with add-one smoothing.

    Raises ValueError for an unknown split.
    """
    train, held_out = dataset.arrays["train"], dataset.arrays[check_split(split)]
    frequencies, vocabulary = np.bincount(train["label"]), dataset.provenance["vocabulary"]
    evidence = []
    with np.errstate(divide="ignore"):  # a label missing in train has log probability -inf
        priors = np.log(frequencies / frequencies.sum())
    for label, prior in enumerate(priors):
        own = train["label"] == label
        counts = 1 + np.bincount(train["tokens"][own][train["mask"][own]], minlength=vocabulary)
        of_tokens = np.log(counts / counts.sum())[held_out["tokens"]]
        evidence.append(prior + np.where(held_out["mask"], of_tokens, 0).sum(axis=1))
    return {
        "most_frequent": float((held_out["label"] == frequencies.argmax()).mean()),
        "naive_bayes": _accuracy(np.argmax(evidence, axis=0), held_out["label"]),
    }


def check_split(split: str) -> str:
    """Return the split's name. Raises ValueError, naming the nearest, for an unknown one."""
    check_choice("split", split, SPLITS)
    return split


def _counts(tokens: np.ndarray, block: int = 2**24) -> tuple[np.ndarray, np.ndarray]:
    """Counts of bytes, [256], and of pairs of bytes, [256, 256]; in blocks, since NumPy counts in 64-bit integers."""
    pairs = np.zeros(2**16, np.int64)
    for start in range(0, tokens.size - 1, block):
        part = tokens[start : start + block + 1].astype(np.int32)
        pairs += np.bincount(256 * part[:-1] + part[1:], minlength=2**16)
    square = pairs.reshape(256, 256)
    counts = square.sum(axis=1)
    counts[tokens[-1]] += 1
    return counts, square


def _pixels(images: np.ndarray) -> np.ndarray:
    """f32 [n, values], from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def _accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float((predicted == labels).mean())
