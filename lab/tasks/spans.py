"""Span corruption: predict the spans that are missing in a text (Raffel et al. 2020, arXiv:1910.10683)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from lab.data.order import shuffled
from lab.data.text.tokenizers import special_token
from lab.tasks.denoising import Denoising


@dataclass(frozen=True)
class SpanCorruption(Denoising):
    """Predict the spans that are removed from a window, each after the sentinel that replaces it.

    As in the authors' code (section 3.1.4), a fraction `rate` of the tokens is removed in spans of mean length `span`.
    The numbers of removed tokens and of spans are the same in every window, and the positions are drawn uniformly from
    all partitions. A window begins with a kept token and ends with a span. The encoder reads the kept tokens, a
    sentinel for each span, and the end token; the decoder predicts each sentinel, its span, and the end token. The ids
    after the tokenizer's are the start token, which the decoder reads first, the end token, and the sentinels, of which
    the first span has the highest; a T5 tokenizer has its own. Raises what `Denoising` raises, and ValueError if the
    spans do not fit.
    """

    span: float = 3.0
    """Mean length of a span in tokens."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context < 2:
            raise ValueError(f"context must be at least 2 tokens, one of which is kept, not {self.context}")
        if not self.span >= 1:
            raise ValueError(f"span must be at least 1 token, not {self.span}")
        if self.spans > self.context - self.removed:
            raise ValueError(
                f"rate {self.rate} and span {self.span} make {self.spans} spans, but only "
                f"{self.context - self.removed} of {self.context} tokens are kept, and each span needs one before it"
            )

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"span_corruption:{self.data}"

    @property
    def removed(self) -> int:
        """Number of removed tokens per window."""
        return min(max(1, round(self.rate * self.context)), self.context - 1)

    @property
    def spans(self) -> int:
        """Number of removed spans per window."""
        return max(1, round(self.removed / self.span))

    @property
    def start(self) -> int:
        """The token that the decoder reads first."""
        return self._own("<pad>", super().vocab_size)

    @property
    def end(self) -> int:
        """The token that ends inputs and targets."""
        return self._own("</s>", super().vocab_size + 1)

    @property
    def sentinel(self) -> int:
        """The sentinel of the first span; the following spans have the ids below it."""
        return self._own("<extra_id_0>", super().vocab_size + 1 + self.spans)

    @property
    def vocab_size(self) -> int:
        """The vocabulary size: the tokenizer's, the start, the end, and one sentinel per span."""
        return max(super().vocab_size, self.sentinel + 1)

    @property
    def input_length(self) -> int:
        """Tokens that the encoder reads: 512 for a context of 568."""
        return self.context - self.removed + self.spans + 1

    @property
    def target_length(self) -> int:
        """Tokens that the decoder predicts: 114 for a context of 568."""
        return self.removed + self.spans + 1

    @property
    def tokens_per_example(self) -> int:
        """Tokens that encoder and decoder read per example."""
        return self.input_length + self.target_length

    def noised(self, windows: Int[Any, "*rows context"], seeds: Integer[Any, "*rows"]) -> dict[str, Any]:
        """`tokens` [*rows, input_length], `labels` and `weight` [*rows, target_length] of windows: see `Denoising`."""
        xp = windows.__array_namespace__()
        missing = self._missing(xp, seeds)
        labels = self._without(windows, ~missing, self.target_length)
        weight = xp.ones(labels.shape, np.float32)
        return {"tokens": self._without(windows, missing, self.input_length), "labels": labels, "weight": weight}

    def inputs(
        self, batch: Mapping[str, Array]
    ) -> tuple[Int[Array, "batch input_length"], Int[Array, "batch target_length"]]:
        """The encoder's input, and the decoder's: the start token and the labels shifted by one."""
        return batch["tokens"], jnp.pad(batch["labels"], ((0, 0), (1, 0)), constant_values=self.start)[:, :-1]

    def _own(self, spelling: str, otherwise: int) -> int:
        """The token of this spelling in a tokenizer that has its own sentinels."""
        known = [special_token(self.tokenizer, name) for name in ("<pad>", "</s>", "<extra_id_0>")]
        found = special_token(self.tokenizer, spelling)
        return otherwise if found is None or None in known else found

    def _missing(self, xp: Any, seeds: Integer[Any, "*rows"]) -> Bool[Any, "*rows context"]:
        """Whether each token is removed: kept and removed parts alternate."""
        stay, gone = self.context - self.removed, self.removed
        staying, going = self._parts(xp, stay, seeds, 0), self._parts(xp, gone, seeds, 1)
        ends = xp.cumsum(staying + going, axis=-1)[..., None, :]
        places = np.arange(self.context).reshape(*(1,) * seeds.ndim, -1, 1)
        return ((ends - going[..., None, :] <= places) & (places < ends)).any(axis=-1)

    def _parts(self, xp: Any, size: int, seeds: Integer[Any, "*rows"], use: int) -> Int[Any, "*rows spans"]:
        """The lengths of a random partition of `size` tokens into one nonempty part per span."""
        places = np.broadcast_to(np.arange(self.spans - 1), (*seeds.shape, self.spans - 1))
        cuts = xp.sort(shuffled(places, max(size - 1, 1), seeds[..., None], use), axis=-1) + 1
        sides = [(0, 0)] * seeds.ndim
        bounded = xp.pad(xp.pad(cuts, (*sides, (1, 0))), (*sides, (0, 1)), constant_values=size)
        return xp.diff(bounded, axis=-1)

    def _without(
        self, windows: Int[Any, "*rows context"], missing: Bool[Any, "*rows context"], length: int
    ) -> Int[Any, "*rows length"]:
        """The windows with a sentinel for each run of missing tokens, and the end token."""
        xp = windows.__array_namespace__()
        sides = [(0, 0)] * (windows.ndim - 1)
        begins = missing & ~xp.pad(missing, (*sides, (1, 0)))[..., :-1]
        marked = xp.where(begins, self.sentinel + 1 - begins.cumsum(axis=-1), windows)
        kept = xp.argsort(missing & ~begins, axis=-1, stable=True)[..., : length - 1]
        whole = xp.pad(xp.take_along_axis(marked, kept, axis=-1), (*sides, (0, 1)), constant_values=self.end)
        return whole.astype(np.int32)
