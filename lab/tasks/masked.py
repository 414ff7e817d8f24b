"""Masked language modelling (Devlin et al. 2018, arXiv:1810.04805)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Int, Integer

from lab.data.order import drawn, shuffled
from lab.data.text.tokenizers import special_token
from lab.tasks.denoising import Denoising, derived
from lab.tasks.windows import framed

FATES = 10
MASKED, REPLACED = 8, 9  # of ten equally likely cases, eight mask the token, the ninth replaces it, the tenth keeps it


@dataclass(frozen=True)
class MaskedLanguage(Denoising):
    """Predict the chosen tokens of a window, most of which are masked, from the others (section 3.1).

    A fraction `rate` of the positions is chosen, the same number in every window. Of the chosen tokens, 80 % become
    [MASK], the tokenizer's if it has one, else an additional token at the end of the vocabulary; 10 % become a random
    token and 10 % stay. Only chosen tokens count in the loss. Tokens that a tokenizer.json adds to a text, such as
    [CLS] and [SEP], are added to every window and never chosen. Raises what `Denoising` raises, and ValueError if they
    leave no room for text.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 1:
            added = f"{self.context - self.stride}, the number of tokens that {self.tokenizer!r} adds to a text"
            raise ValueError(f"context is {self.context}: it must be above {added}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"masked_language:{self.data}"

    @property
    def vocab_size(self) -> int:
        """The vocabulary size: the tokenizer's, and [MASK]."""
        return max(super().vocab_size, self.mask + 1)

    @property
    def mask(self) -> int:
        """The token [MASK]."""
        own = special_token(self.tokenizer, "[MASK]", "<mask>")
        return super().vocab_size if own is None else own

    @property
    def stride(self) -> int:
        """Tokens of text per window, without those that the tokenizer adds."""
        return self.context - sum(map(len, self._added))

    @property
    def chosen(self) -> int:
        """Number of chosen tokens per window, at least one."""
        return max(1, round(self.rate * self.stride))

    @property
    def tokens_per_example(self) -> int:
        """Tokens that a model reads per example; only some of them are predicted."""
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
        """The window with its chosen tokens masked or replaced."""
        return (batch["tokens"],)
