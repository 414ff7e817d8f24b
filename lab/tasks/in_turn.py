"""Texts in turn: a language task that becomes another one every few steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer

from lab.data.dataset import Dataset
from lab.data.text.corpora import check_corpus
from lab.tasks.language import CausalLanguage

BYTES = 256


@dataclass(frozen=True)
class TextsInTurn(CausalLanguage):
    """Predict the next byte of a text that changes every `turn_steps` steps, without notice.

    Turn t is on corpus t modulo their number. From the second round on, the byte values of each round are exchanged
    with one another by a fixed permutation, as pixels are in permuted MNIST (Goodfellow et al. 2013, arXiv:1312.6211):
    such a text is as hard as the plain one, and nothing that was learned of single bytes helps. Every turn has the same
    number of bytes, those of the shortest corpus.

    A network that begins at turn `first` reads in it the same windows, in the same order, as one that has been through
    the turns before. Validation and test are texts of the last turn. Raises what `CausalLanguage` raises, and
    ValueError for other tokens than bytes and for documents that are not joined.
    """

    more: tuple[str, ...] = ()
    """Corpora after `data`."""
    turn_steps: int = 100
    """Steps of a turn; the last one goes on if there are more."""
    first: int = 0
    """Number of the first turn."""
    turns: int = 6
    """Turns from the first one on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.more:
            check_corpus(name)
        for name, least in (("turn_steps", 1), ("first", 0), ("turns", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name, allowed in (("tokenizer", "bytes"), ("documents", "joined")):
            if getattr(self, name) != allowed:
                raise ValueError(f"{name} must be {allowed} where texts come in turn, not {getattr(self, name)}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"texts_in_turn:{','.join(self.corpora)}"

    @property
    def corpora(self) -> tuple[str, ...]:
        """All corpora, in the order of their turns."""
        return (self.data, *self.more)

    @cached_property
    def alphabets(self) -> Integer[np.ndarray, "turns 256"]:
        """What the byte values become in each turn, uint8."""
        rounds = [turn // len(self.corpora) for turn in range(self.first, self.first + self.turns)]
        return np.stack([_alphabet(number) for number in rounds])

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Training: `tokens`, uint8 [corpora, n], and of each turn its `corpus` [turns] and `alphabets` [turns, 256];
        `offset` [1] are the steps of the turns before the first. Validation and test: as `CausalLanguage`, of the last
        turn."""
        sets = [CausalLanguage(name, self.context).load(data_dir) for name in self.corpora]
        texts = [one.arrays["train"]["tokens"] for one in sets]
        size = min(map(len, texts))
        corpus = np.arange(self.first, self.first + self.turns, dtype=np.int32) % len(sets)
        train = {
            "tokens": np.stack([text[:size] for text in texts]),
            "corpus": corpus,
            "alphabets": self.alphabets,
            "offset": np.array([self.first * self.turn_steps], np.int32),
        }
        last = sets[corpus[-1]].arrays
        held_out = {
            split: {**last[split], "tokens": self.alphabets[-1][last[split]["tokens"]]}
            for split in ("validation", "test")
        }
        known = {"name": self.name, "version": "1.0.0", "corpora": [one.provenance for one in sets]}
        return Dataset({"train": train, **held_out}, known)

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """Windows of the text of the step's turn: `tokens` [batch_size, context + 1]."""
        xp = jnp if isinstance(step, jax.Array) else np
        turn = xp.minimum(xp.asarray(step) // self.turn_steps, self.turns - 1)
        tokens, place = arrays["tokens"], step + arrays["offset"][0]
        starts = self.training_starts(tokens.shape[1], seed, place, batch_size)
        windows = tokens[arrays["corpus"][turn], self.positions(starts)]
        return {"tokens": arrays["alphabets"][turn, windows]}


def _alphabet(number: int) -> Integer[np.ndarray, " 256"]:
    """A permutation of the byte values for every round; the first round has none."""
    values = np.arange(BYTES, dtype=np.uint8)
    return np.random.default_rng(number).permutation(values) if number else values
