"""Part-of-speech tagging of tweets, as in the GELU paper (Hendrycks and Gimpel 2016)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lab.data.dataset import Dataset
from lab.data.text.tweets import tweets
from lab.tasks.examples import Examples, check_outputs, cross_entropy, weighted

WORDS = 3941
"""Words of the training split, including the unknown one; the next id is padding beyond the ends of a tweet."""
TAGS = 25
"""Parts of speech, including those specific to Twitter (hashtags, addresses)."""


@dataclass(frozen=True)
class TweetTagging(Examples):
    """Predict the tag of a word, one of 25, from the word and its neighbours. An example is a word.

    Raises ValueError for an even context.
    """

    directions: ClassVar[Mapping[str, str]] = {"token_error": "min"}

    context: int = 3
    """Words that a model reads, with the tagged one in the middle."""

    def __post_init__(self) -> None:
        if self.context < 1 or self.context % 2 == 0:
            raise ValueError(f"context must be an odd number of words, not {self.context}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return "tagging:tweet_pos"

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
        return WORDS + 1

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `words`, int32 [n, context], and `tag`, int32 [n]; validation and test also with `document`,
        the number of each word's tweet. Raises what `tweets` raises."""
        dataset = tweets(data_dir)
        arrays = {
            split: {"words": neighbours(fields["word"], fields["tweet"], self.context), "tag": fields["tag"]}
            for split, fields in dataset.arrays.items()
        }
        for split in arrays.keys() - {"train"}:
            arrays[split]["document"] = dataset.arrays[split]["tweet"]
        return Dataset(arrays, dataset.provenance)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError if vocabulary or tags differ."""
        if (found := dataset.provenance["vocabulary"]) != WORDS:
            raise ValueError(f"the vocabulary of the tweets has {found} words, not {WORDS}")
        if (tags := len(dataset.provenance["tags"])) != TAGS:
            raise ValueError(f"the words of the tweets have {tags} tags, not {TAGS}")

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Int[Array, "batch context"]]:
        """The ids of the words in the context."""
        return (batch["words"],)

    def loss(self, outputs: Float[Array, "batch tags"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the tag, in nats."""
        return cross_entropy(outputs, batch["tag"]).mean()

    def metrics(
        self, outputs: Float[Array, "batch tags"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`, the cross-entropy in nats, and `token_error`, the fraction of words tagged wrongly.

        Raises ValueError if the model has another number of tags.
        """
        tags, weight = batch["tag"], batch["weight"]
        check_outputs(outputs, (*tags.shape, TAGS))
        wrong = (outputs.argmax(axis=-1) != tags).astype(jnp.float32)
        return {"loss": weighted(cross_entropy(outputs, tags), weight), "token_error": weighted(wrong, weight)}


def neighbours(
    word: Int[np.ndarray, " words"], tweet: Int[np.ndarray, " words"], context: int
) -> Int[np.ndarray, "words context"]:
    """Each word with its neighbours in its tweet; `WORDS` beyond the tweet's ends."""
    places = np.arange(len(word))[:, None] + np.arange(context)[None, :] - context // 2
    near = places.clip(0, len(word) - 1)
    same = (places == near) & (tweet[near] == tweet[:, None])
    return np.where(same, word[near], WORDS).astype(np.int32)
