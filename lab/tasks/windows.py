"""Examples that are windows of a text: where they lie, in training and in evaluation, and what tokens they hold."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer, Shaped

from lab.data.corpora import check_corpus, corpus
from lab.data.dataset import Dataset
from lab.data.order import drawn, places, shuffled
from lab.data.tokenizers import added_tokens, check_tokenizer, tokenized, vocabulary_size

MIN_DOCUMENTS = 20
BLOCKS = 50


@dataclass(frozen=True)
class Windows(ABC):
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

    def final_evaluation_batches(
        self, arrays: Mapping[str, np.ndarray], batch_size: int, examples: int
    ) -> dict[str, np.ndarray]:
        """`evaluation_batches` of so many windows, if the task's own are not more."""
        count = 0 if self.evaluation_windows == 0 else max(self.evaluation_windows, examples)
        return replace(self, evaluation_windows=count).evaluation_batches(arrays, batch_size)

    @abstractmethod
    def evaluation_batches(self, arrays: Mapping[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        """The windows that are evaluated: see `lab.tasks.task.Task`."""

    def documents_of(
        self, arrays: Mapping[str, np.ndarray], places: Int[np.ndarray, " windows"]
    ) -> Int[np.ndarray, " windows"]:
        """The number of the document that each of these tokens of a split lies in, ascending places.

        Where the text has fewer than `MIN_DOCUMENTS`, or where they end is not known, blocks of windows that follow
        each other stand for them, `BLOCKS` of equal length: text so far apart is as good as independent, and so many
        blocks are enough to tell their spread from (method of batch means: Flegal and Jones 2010).
        """
        ends = arrays.get("ends", np.array([]))
        if len(ends) < MIN_DOCUMENTS:
            return np.arange(len(places)) * min(BLOCKS, len(places)) // len(places)
        bytes_before = np.cumsum(arrays["bytes"], dtype=np.int64) - arrays["bytes"]
        last = arrays["tokens"].size - 1
        return np.searchsorted(ends, bytes_before[np.minimum(places, last)], side="right")

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
