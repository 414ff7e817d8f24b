"""Causal language modelling."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jaxtyping import Array, Float, Int, Integer

from lab.data.text.tokenizers import boundary_token
from lab.files.choices import check_choice
from lab.tasks.examples import cross_entropy, in_batches
from lab.tasks.task import of_each_token, totals
from lab.tasks.windows import Windows, framed

DOCUMENTS = ("joined", "packed", "masked")
LARGEST_LOSS = 88.0  # nats; above this the perplexity overflows in f32, and infinite numbers mark a run as diverged


@dataclass(frozen=True)
class CausalLanguage(Windows):
    """Predict every token of a text from the tokens before it.

    Documents are `joined` without separators; or `packed`, with a boundary token before each; or also `masked`: batches
    then have `segments`, and attention is restricted to one document. Joined windows begin with the token that a
    tokenizer.json puts before a text, as for LLaMA and Gemma, which were never trained without it. Raises what
    `Windows` raises, and ValueError for another value of `documents`.
    """

    directions: ClassVar[Mapping[str, str]] = {"perplexity": "min", "bits_per_byte": "min"}

    documents: str = "joined"
    """How documents are placed in a window: joined, packed (with separators) or masked (no attention across them)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("documents", self.documents, DOCUMENTS)

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"causal_language:{self.data}"

    @property
    def tokens_per_example(self) -> int:
        """Predictions per example."""
        return self.context

    @property
    def overlap(self) -> int:
        """Tokens shared by two windows: the last is only a target, and is the first input of the next window."""
        return 1 - len(self._start)

    @property
    def _start(self) -> list[int]:
        """The token before the text of every window, or none."""
        return [] if self._boundaries else self._added[0][-1:]

    @property
    def _boundaries(self) -> bool:
        return self.documents != "joined"

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """Windows of the training text, in the order of `Windows.training_starts`: `tokens` [batch_size, context + 1],
        and if masked `segments`, int32 [batch_size, context]."""
        tokens = arrays["tokens"]
        starts = self.training_starts(tokens.size, seed, step, batch_size)
        return self._with_segments({"tokens": framed(tokens[self.positions(starts)], self._start, [])})

    def _with_segments(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of windows; if masked, with the index within the window of each input's document."""
        if self.documents != "masked":
            return fields
        begins = fields["tokens"][..., :-1] == boundary_token(self.tokenizer)
        return {**fields, "segments": begins.cumsum(axis=-1).astype(np.int32)}

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Int[Array, "batch context"], ...]:
        """All tokens of a window but the last, and if masked a mask that numbers their documents from 1."""
        tokens = batch["tokens"][:, :-1].astype(jnp.int32)
        return (tokens, batch["segments"] + 1) if self.documents == "masked" else (tokens,)

    def loss(self, outputs: Float[Array, "batch context vocab"] | Any, batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the next token, in nats."""
        return of_each_token(cross_entropy, outputs, _targets(batch)).mean()

    def evaluation_batches(
        self, arrays: Mapping[str, Integer[np.ndarray, " n"]], batch_size: int
    ) -> dict[str, np.ndarray]:
        """The windows that are evaluated: `tokens` [n_batches, batch_size, context + 1], and of each target `bytes` and
        `weight`, f32 [n_batches, batch_size, context], 1 for a target and 0 for padding. If masked also `segments`. And
        of each window its `document`: see `Windows.documents_of`.

        Windows are contiguous: the last token of one is the first of the next, and the last window may be padded.
        Together they predict every token of the split exactly once, except the first token, which is predicted only if
        a token precedes it.
        """
        last = arrays["tokens"].size - 1
        positions = self.positions(self.evaluation_starts(last + 1))
        targets = positions[:, self.overlap :]
        fields = {
            "tokens": framed(arrays["tokens"][np.minimum(positions, last)], self._start, []),
            "bytes": arrays["bytes"][np.minimum(targets, last)].astype(np.float32),
            "weight": (targets <= last).astype(np.float32),
        }
        return in_batches(
            {**self._with_segments(fields), "document": self.documents_of(arrays, targets[:, 0])}, batch_size
        )

    def metrics(
        self, outputs: Float[Array, "batch context vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, ""], Float[Array, ""]]]:
        """`loss`, `bytes_per_token`, `squared_log_normalizer`: the cross-entropy of the targets in nats, their bytes,
        and the square of log Z, the logarithm of the sum of exp(logits), all summed; and the number of targets."""
        return totals(self.example_metrics(outputs, batch))

    def example_metrics(
        self, outputs: Float[Array, "batch context vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, " batch"], Float[Array, " batch"]]]:
        """`metrics` of each window."""
        weight = batch["weight"]
        count = jnp.sum(weight, axis=-1)
        nats, log_normalizer = of_each_token(_nats_and_log_normalizer, outputs, _targets(batch))
        return {
            "loss": (jnp.sum(weight * nats, axis=-1), count),
            "bytes_per_token": (jnp.sum(weight * batch["bytes"], axis=-1), count),
            "squared_log_normalizer": (jnp.sum(weight * jnp.square(log_normalizer), axis=-1), count),
        }

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means with `perplexity`, and `bits_per_byte`: nats divided by bytes of the same targets.

        In training the bytes are known only if tokens are bytes. `log_normalizer` is the root mean square of log Z,
        whose mean square a z-loss keeps small (Chowdhery et al. 2022, section 5).
        """
        known = dict(means)
        known["perplexity"] = jnp.exp(jnp.minimum(means["loss"], LARGEST_LOSS))
        if "bytes_per_token" in means or (self.tokenizer == "bytes" and not self._boundaries):
            known["bits_per_byte"] = means["loss"] / means.get("bytes_per_token", 1.0) / math.log(2)
        if "squared_log_normalizer" in means:
            known["log_normalizer"] = jnp.sqrt(known.pop("squared_log_normalizer"))
        return known


def _targets(batch: Mapping[str, Array]) -> Int[Array, "batch context"]:
    """The token after each input."""
    return batch["tokens"][:, 1:].astype(jnp.int32)


def _nats_and_log_normalizer(
    logits: Float[Array, "*tokens vocab"], targets: Int[Array, "*tokens"]
) -> tuple[Float[Array, "*tokens"], Float[Array, "*tokens"]]:
    """-log p(target) and log Z in f32; XLA computes log Z once, as the cross-entropy shares it."""
    return cross_entropy(logits, targets), logsumexp(logits.astype(jnp.float32), axis=-1)
