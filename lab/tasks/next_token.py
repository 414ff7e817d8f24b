"""Predicting the token after a window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float

from lab.tasks.language import CausalLanguage


@dataclass(frozen=True)
class NextToken(CausalLanguage):
    """Predict the token after a window of `context` tokens, for networks that read a fixed number of them, such as an
    MLP (Bengio et al. 2003, "A neural probabilistic language model").

    Windows are those of `CausalLanguage`; only the last token of each is predicted, so all predictions see the whole
    context. Raises what `CausalLanguage` raises, and ValueError if documents are masked.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.documents == "masked":
            raise ValueError(
                "documents is 'masked': a network of one window has no attention to mask, allowed values "
                "are joined, packed"
            )

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"next_token:{self.data}"

    @property
    def tokens_per_example(self) -> int:
        """Predictions per example."""
        return 1

    def loss(self, outputs: Float[Array, "batch vocab"] | Any, batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the next token, in nats."""
        return super().loss(outputs[:, None], {"tokens": batch["tokens"][:, -2:]})

    def example_metrics(
        self, outputs: Float[Array, "batch vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, " batch"], Float[Array, " batch"]]]:
        """`CausalLanguage.metrics` of the last token of each window."""
        last = {"tokens": batch["tokens"][:, -2:]} | {name: batch[name][:, -1:] for name in ("weight", "bytes")}
        return super().example_metrics(outputs[:, None], last)
