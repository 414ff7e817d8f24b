"""Tasks whose examples are windows of a text: their positions in training and evaluation, and their tokens."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer, Shaped

from lab.data.dataset import Dataset
from lab.data.order import drawn, places, shuffled
from lab.data.text.corpora import check_corpus, corpus
from lab.data.text.tokenizers import added_tokens, check_tokenizer, tokenized, vocabulary_size

MIN_DOCUMENTS = 20
BLOCKS = 50


@dataclass(frozen=True)
class Windows(ABC):
    """What tasks have in common whose examples are windows of a text, without regard to its documents.

    Consecutive windows are contiguous, or share `overlap` tokens. Raises ValueError for an unknown name or a number out
    of range, FileNotFoundError for a missing tokenizer file.
    """

    data: str = "stdlib"
    """Corpus, or your own files as text:PATH; see lab.data.text.corpora."""
    context: int = 128
    """Tokens that a model reads."""
    evaluation_windows: int = 64
    """Number of evaluated windows, spread evenly over the split; 0: all."""
    tokenizer: str = "bytes"
    """Tokens: bytes, characters, bpe, or the path of a tokenizer.json; see lab.data.text.tokenizers."""
    vocabulary: int = 0
    """Vocabulary size for characters and bpe; other tokenizers have their own."""

    def __post_init__(self) -> None:
        check_corpus(self.data)
        check_tokenizer(self.tokenizer, self.vocabulary, self._boundaries)
        if self.context < 1:
            raise ValueError(f"context must be at least 1 token, not {self.context}")
        if self.evaluation_windows < 0:
            raise ValueError(f"evaluation_windows must be 0 (all) or more, not {self.evaluation_windows}")

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
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
        """Whether a boundary token precedes each document."""
        return False

    @cached_property
    def _added(self) -> tuple[list[int], list[int]]:
        """Tokens that a tokenizer.json adds before and after a text; cached, as its file may be large."""
        return added_tokens(self.tokenizer)

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The tokenized corpus: every split with `tokens` [n]; validation and test also with `bytes` [n], the bytes of
        each token. Raises what `corpus` and `tokenized` raise."""
        text = corpus(self.data, data_dir)
        return tokenized(text, self.tokenizer, self.vocabulary, self._boundaries, data_dir)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError if a split is too short for one window, or has too many windows for 32-bit numbers."""
        sizes = {split: fields["tokens"].size for split, fields in dataset.arrays.items()}
        shortest = min(sizes, key=lambda split: sizes[split])
        if sizes[shortest] < self.window:
            raise ValueError(
                f"context {self.context} does not fit {self.data}: its {shortest} split has {sizes[shortest]} tokens, "
                f"but a window needs {self.window}"
            )
        if self._count(largest := max(sizes.values())) > 2**31:
            raise ValueError(
                f"data {self.data!r} has a split of {largest} tokens; at most 2**31 windows of {self.context} are "
                f"allowed"
            )

    def training_starts(
        self, size: int, seed: int | Integer[Any, "..."], step: int | Integer[Any, ""], batch_size: int
    ) -> Int[Any, "*seeds batch_size"]:
        """Start positions of the windows of a training step in a text of `size` tokens, as a function of (seed, step);
        see `Task.batch`.

        Each window occurs once per epoch, in a new order. In each epoch all windows are shifted by a random offset
        below the stride; windows that would pass the end of the text are moved back.
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
        """Start positions of the evaluation windows in a text of `size` tokens; the last may pass its end."""
        available = self._count(size)
        count = min(self.evaluation_windows or available, available)
        return self.stride * (np.arange(count) * available // count)

    def positions(self, starts: Int[Any, "*shape"]) -> Int[Any, "*shape window"]:
        """The positions of the tokens of windows."""
        return starts[..., None] + np.arange(self.window).reshape(*(1,) * starts.ndim, -1)

    def _count(self, size: int) -> int:
        """Number of windows that cover a text of `size` tokens."""
        return math.ceil((size - self.overlap) / self.stride)


def framed(
    rows: Shaped[Any, "*rows length"], before: Sequence[float | int], after: Sequence[float | int]
) -> Shaped[Any, "*rows longer"]:
    """The rows with values before and after each, in the same dtype, in NumPy or JAX.

    Empty values are skipped: the compiler of jax 0.11.2 crashes on constants without elements in programs for several
    devices.
    """
    xp = rows.__array_namespace__()

    def end(values: Sequence[float | int]) -> list[Any]:
        shape = (*rows.shape[:-1], len(values))
        return [xp.broadcast_to(xp.asarray(values, dtype=rows.dtype), shape)] if values else []

    return xp.concat([*end(before), rows, *end(after)], axis=-1)
