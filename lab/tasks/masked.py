"""Masked language modelling: tell the tokens that are hidden in a text (Devlin et al. 2018, arXiv:1810.04805)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Int, Integer

from lab.data.order import drawn, shuffled
from lab.data.tokenizers import special_token
from lab.tasks.denoising import Denoising, derived
from lab.tasks.windows import framed

FATES = 10
MASKED, REPLACED = 8, 9  # of ten fates the first eight are the mask and the ninth a random token; the tenth stays


@dataclass(frozen=True)
class MaskedLanguage(Denoising):
    """Tell the tokens of a window that are chosen, of which most are hidden, from all the others (section 3.1).

    A share `rate` of the positions is chosen, as many in every window. Of the chosen tokens 80 % become [MASK], the
    tokenizer's own if it has one, else one more at the end of the vocabulary; 10 % become a random token and 10 % stay.
    The loss is of the chosen ones alone. What a tokenizer.json adds to a text, [CLS] and [SEP], say, is added to every
    window and never chosen. Raises what `Denoising` raises, and ValueError where that leaves no room for text.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 1:
            added = f"{self.context - self.stride}, what {self.tokenizer!r} adds to a text"
            raise ValueError(f"context is {self.context}: it must be above {added}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"masked_language:{self.data}"

    @property
    def vocab_size(self) -> int:
        """The number of values of a token: the tokenizer's, and [MASK]."""
        return max(super().vocab_size, self.mask + 1)

    @property
    def mask(self) -> int:
        """The token [MASK]."""
        own = special_token(self.tokenizer, "[MASK]", "<mask>")
        return super().vocab_size if own is None else own

    @property
    def stride(self) -> int:
        """Tokens of the text in a window: what the tokenizer adds leaves room for."""
        return self.context - sum(map(len, self._added))

    @property
    def chosen(self) -> int:
        """How many tokens of a window are chosen: at least one."""
        return max(1, round(self.rate * self.stride))

    @property
    def tokens_per_example(self) -> int:
        """Tokens that a model reads in one example, of which it is asked for few."""
        return self.context

    def noised(self, windows: Int[Any, "*rows stride"], seeds: Integer[Any, "*rows"]) -> dict[str, Any]:
        """`tokens`, `labels` and `weight` of windows, [*rows, context] each: see `Denoising`."""
        xp = windows.__array_namespace__()
        seeds, places = seeds[..., None], np.broadcast_to(np.arange(self.stride), windows.shape)
        asked = shuffled(places, self.stride, seeds, 0) < self.chosen
        fate = drawn(FATES, derived(seeds, 0), places)
        other = drawn(super().vocab_size, derived(seeds, 1), places)
        changed = xp.where(fate < MASKED, self.mask, xp.where(fate < REPLACED, other, windows))
        tokens = xp.where(asked, changed, windows).astype(np.int32)
        before, after = self._added
        weight = framed(asked.astype(np.float32), [0.0] * len(before), [0.0] * len(after))
        return {"tokens": framed(tokens, before, after), "labels": framed(windows, before, after), "weight": weight}

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Int[Array, "batch context"]]:
        """The window with its chosen tokens changed."""
        return (batch["tokens"],)
