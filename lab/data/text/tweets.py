"""Tweets with part-of-speech tags (Gimpel et al. 2011; Owoputi et al. 2012), as in the GELU paper."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.dataset import SPLITS, Dataset

UNKNOWN = 0
"""The id of words that do not occur in train."""
SHA256 = "fffa22f995120d3656a8f0ab59e3e7901a84307edb922026c8a153dcb4d77b15"
"""`checksums.of_splits` of the arrays."""


def tweets(data_dir: Path | None = None) -> Dataset:
    """1000, 327 and 500 tweets of 14 619, 4823 and 7152 words. Every field of a split is int32 [words]:

    - `word`: the index in `vocabulary(data_dir)`, `UNKNOWN` for words that do not occur in train;
    - `tag`: the index in `tweet_pos.TAGS`;
    - `tweet`: the index of the tweet; words keep their order.

    Validation is the authors' dev split, test their devtest split. The provenance has `vocabulary`, the number of word
    ids, and `tags`. Raises FileNotFoundError if the files are not on this machine and cannot be downloaded, and
    ValueError if a file or the prepared set does not have the registered sha256.
    """
    from lab.data.tfds import prepared

    builder, rows = _read(data_dir)
    words = _vocabulary(rows["train"])
    ids = {word: index for index, word in enumerate(words)}
    splits = {split: _fields(rows[split], ids) for split in SPLITS}
    tags = builder.info.features["tags"].feature.names
    return prepared.dataset(builder, splits, SHA256, vocabulary=len(words), tags=tags)


def vocabulary(data_dir: Path | None = None) -> tuple[str, ...]:
    """The words by id: `<unknown>`, then those of train by decreasing frequency, ties in alphabetical order."""
    return _vocabulary(_read(data_dir)[1]["train"])


def _read(data_dir: Path | None) -> tuple[Any, dict[str, Sequence[Any]]]:
    """The builder, and split -> examples."""
    # Imported lazily: TensorFlow Datasets takes 1 s to import.
    from lab.data.sets import tweet_pos
    from lab.data.tfds import prepared

    builder = prepared.prepare(tweet_pos.TweetPos, data_dir)
    return builder, {split: list(source) for split, source in prepared.examples(builder).items()}


def _vocabulary(rows: Sequence[Any]) -> tuple[str, ...]:
    counts = Counter(word.decode() for row in rows for word in row["words"])
    return ("<unknown>", *sorted(counts, key=lambda word: (-counts[word], word)))


def _fields(rows: Sequence[Any], ids: dict[str, int]) -> dict[str, np.ndarray]:
    columns = {
        "word": [ids.get(word.decode(), UNKNOWN) for row in rows for word in row["words"]],
        "tag": [tag for row in rows for tag in row["tags"]],
        "tweet": [index for index, row in enumerate(rows) for _ in row["words"]],
    }
    return {name: np.asarray(column, np.int32) for name, column in columns.items()}
