"""Examples that are windows of a text: where they lie, in training and in evaluation, and what tokens they hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer, Shaped

from lab.data.corpora import check_corpus, corpus
from lab.data.dataset import Dataset
from lab.data.order import drawn, places, shuffled
from lab.data.tokenizers import added_tokens, check_tokenizer, tokenized, vocabulary_size


@dataclass(frozen=True)
class Windows:
    """What tasks have in common whose examples are windows of a text, without regard to its documents.

    Windows lie end to end, but for `overlap` tokens that a window shares with the one after it. Raises ValueError for
    an unknown name or a number out of range, FileNotFoundError for a tokenizer file that is not there.
    """

    data: str = "stdlib"
    """Corpus, or one's own files as text:PATH; see lab.data.corpora."""
    context: int = 128
    """Tokens that a model sees."""
    evaluation_windows: int = 64
    """Windows of a split that are evaluated, spread evenly over it; 0 is all of them."""
    tokenizer: str = "bytes"
    """Tokens: bytes, characters, bpe, or the path of a tokenizer.json; see lab.data.tokenizers."""
    vocabulary: int = 0
    """Number of tokens where tokenizer is characters or bpe; the others have their own."""

    def __post_init__(self) -> None:
        check_corpus(self.data)
        check_tokenizer(self.tokenizer, self.vocabulary, self._boundaries)
        if self.context < 1:
            raise ValueError(f"context must be at least 1 token, not {self.context}")
        if self.evaluation_windows < 0:
            raise ValueError(f"evaluation_windows must be 0 (all) or more, not {self.evaluation_windows}")

    @property
    def vocab_size(self) -> int:
        """The number of values of a token."""
        return vocabulary_size(self.tokenizer, self.vocabulary, self._boundaries)

    @property
    def overlap(self) -> int:
        """Tokens of the text that a window shares with the next."""
        return 0

    @property
    def stride(self) -> int:
        """Tokens from the start of a window to that of the next."""
        return self.context

    @property
    def window(self) -> int:
        """Tokens of the text in a window."""
        return self.stride + self.overlap

    @property
    def _boundaries(self) -> bool:
        """Whether a token of its own stands before each document."""
        return False

    @cached_property
    def _added(self) -> tuple[list[int], list[int]]:
        """What a tokenizer.json adds before and behind a text; kept, for its file may be large."""
        return added_tokens(self.tokenizer)

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The corpus in tokens: every split with `tokens` [n], validation and test also with `bytes` [n], how many each
        stands for. Raises what `corpus` and `tokenized` raise."""
        text = corpus(self.data, data_dir)
        return tokenized(text, self.tokenizer, self.vocabulary, self._boundaries, data_dir)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError when a split is too short for one window, or has too many for 32-bit numbers."""
        sizes = {split: fields["tokens"].size for split, fields in dataset.arrays.items()}
        shortest = min(sizes, key=lambda split: sizes[split])
        if sizes[shortest] < self.window:
            raise ValueError(
                f"context {self.context} does not fit {self.data}: its {shortest} split has {sizes[shortest]} tokens, "
                f"and a window takes {self.window} of them"
            )
        if self._count(largest := max(sizes.values())) > 2**31:
            raise ValueError(
                f"data {self.data!r} has a split of {largest} tokens; at most 2**31 windows of {self.context} are "
                f"allowed"
            )

    def training_starts(
        self, size: int, seed: int | Integer[Any, "..."], step: int | Integer[Any, ""], batch_size: int
    ) -> Int[Any, "*seeds batch_size"]:
        """Where the windows of a training step begin in a text of `size` tokens, a function of (seed, step): see
        `Task.batch`.

        In an epoch every window comes up once, in an order of its own. All are moved by a number below the stride that
        is drawn for the epoch; those that would pass the end of the text are moved back.
        """
        position, epoch = places(step, batch_size, count := self._count(size))
        starts = shuffled(position, count, seed, epoch) * self.stride + drawn(self.stride, seed, epoch)
        return starts.clip(max=size - self.window)

    def evaluation_starts(self, size: int) -> Int[np.ndarray, " windows"]:
        """Where the evaluated windows of a text of `size` tokens begin; the last may pass its end."""
        available = self._count(size)
        count = min(self.evaluation_windows or available, available)
        return self.stride * (np.arange(count) * available // count)

    def positions(self, starts: Int[Any, "*shape"]) -> Int[Any, "*shape window"]:
        """Where the tokens of windows lie."""
        return starts[..., None] + np.arange(self.window).reshape(*(1,) * starts.ndim, -1)

    def _count(self, size: int) -> int:
        """How many windows hold all tokens of a text of `size` tokens."""
        return math.ceil((size - self.overlap) / self.stride)


def framed(
    rows: Shaped[Any, "*rows length"], before: Sequence[float | int], after: Sequence[float | int]
) -> Shaped[Any, "*rows longer"]:
    """The rows with values before and behind each, of their type; in NumPy the same as in JAX.

    Without values nothing is put there: of constants without elements the compiler of jax 0.11.2 dies, in programs of
    several devices.
    """
    xp = rows.__array_namespace__()

    def end(values: Sequence[float | int]) -> list[Any]:
        shape = (*rows.shape[:-1], len(values))
        return [xp.broadcast_to(xp.asarray(values, dtype=rows.dtype), shape)] if values else []

    return xp.concat([*end(before), rows, *end(after)], axis=-1)


def in_batches(fields: dict[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
    """Rows [n, length] of each field as [n_batches, batch_size, length], the last batch filled up with zeros."""
    padding = ((0, -len(next(iter(fields.values()))) % batch_size), (0, 0))
    return {field: np.pad(rows, padding).reshape(-1, batch_size, rows.shape[1]) for field, rows in fields.items()}
