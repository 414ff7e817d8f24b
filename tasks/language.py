"""Language modelling: what a model of text is asked to predict."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from tasks.data.corpora import check_corpus, corpus
from tasks.data.tokenizers import boundary_token, check_tokenizer, tokenized, vocabulary_size
from tasks.examples import cross_entropy
from tasks.order import drawn, places, shuffled
from tasks.task import Dataset, of_each_token

DOCUMENTS = ("joined", "packed", "masked")
LARGEST_LOSS = 88.0  # nats: the perplexity of more is infinite in f32, and infinite numbers mark a run as diverged


@dataclass(frozen=True)
class CausalLanguage:
    """Predict every token of a text from the tokens before it.

    Windows of a text follow each other without regard to its documents. These are `joined` as they are; or `packed`,
    with a token of its own before each, which ends the one before; or also `masked`: batches then have `segments`, and
    attention is to stay within one. Raises ValueError for an unknown name or a number out of range, FileNotFoundError
    for a tokenizer file that is not there.
    """

    data: str = "stdlib"
    """Corpus, or one's own files as text:GLOB; see tasks.data.corpora."""
    context: int = 128
    """Tokens that a model sees."""
    evaluation_windows: int = 64
    """Windows of a split that are evaluated, spread evenly over it; 0 is all of them."""
    tokenizer: str = "bytes"
    """Tokens: bytes, characters, bpe, or the path of a tokenizer.json; see tasks.data.tokenizers."""
    vocabulary: int = 0
    """Number of tokens where tokenizer is characters or bpe; the others have their own."""
    documents: str = "joined"
    """How documents lie in a window: joined, packed (a token between two) or masked (attention stays within one)."""

    def __post_init__(self) -> None:
        check_corpus(self.data)
        if self.documents not in DOCUMENTS:
            near = difflib.get_close_matches(self.documents, DOCUMENTS, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"documents must be {', '.join(DOCUMENTS)}, not {self.documents!r}{hint}")
        check_tokenizer(self.tokenizer, self.vocabulary, self._boundaries)
        if self.context < 1:
            raise ValueError(f"context must be at least 1 token, not {self.context}")
        if self.evaluation_windows < 0:
            raise ValueError(f"evaluation_windows must be 0 (all) or more, not {self.evaluation_windows}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"causal_language:{self.data}"

    @property
    def vocab_size(self) -> int:
        """The number of values of a token."""
        return vocabulary_size(self.tokenizer, self.vocabulary, self._boundaries)

    @property
    def tokens_per_example(self) -> int:
        """Predictions in one example."""
        return self.context

    @property
    def _boundaries(self) -> bool:
        return self.documents != "joined"

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The corpus in tokens: every split with `tokens` [n], validation and test also with `bytes` [n], how many each
        stands for. Raises what `corpus` and `tokenized` raise."""
        text = corpus(self.data, data_dir)
        return tokenized(text, self.tokenizer, self.vocabulary, self._boundaries, data_dir)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError when a split is too short for one window, or has too many for 32-bit numbers."""
        sizes = {split: fields["tokens"].size for split, fields in dataset.arrays.items()}
        shortest = min(sizes, key=lambda split: sizes[split])
        if sizes[shortest] <= self.context:
            raise ValueError(
                f"context {self.context} does not fit {self.data}: its {shortest} split has {sizes[shortest]} tokens, "
                f"and a window takes context + 1 of them"
            )
        if self._windows(largest := max(sizes.values())) > 2**31:
            raise ValueError(
                f"data {self.data!r} has a split of {largest} tokens; at most 2**31 windows of {self.context} are "
                f"allowed"
            )

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """Windows of the training text: `tokens` [batch_size, context + 1], and if masked `segments`, int32
        [batch_size, context].

        In an epoch every window comes up once, in an order of its own. Windows lie end to end, all moved by a number
        below the context that is drawn for the epoch; those that would pass the end of the text are moved back.
        """
        tokens = arrays["tokens"]
        position, epoch = places(step, batch_size, count := self._windows(tokens.size))
        starts = shuffled(position, count, seed, epoch) * self.context + drawn(self.context, seed, epoch)
        starts = starts.clip(max=tokens.size - self.context - 1)
        within = np.arange(self.context + 1).reshape(*(1,) * starts.ndim, -1)
        return self._with_segments({"tokens": tokens[starts[..., None] + within]})

    def _windows(self, size: int) -> int:
        """How many windows of a text of so many tokens predict each token but the first."""
        return math.ceil((size - 1) / self.context)

    def _with_segments(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of windows, and if masked the number of the document in its window of each input."""
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
        return _cross_entropy(outputs, batch["tokens"]).mean()

    def evaluation_batches(
        self, arrays: Mapping[str, Integer[np.ndarray, " n"]], batch_size: int
    ) -> dict[str, np.ndarray]:
        """The windows that are evaluated: `tokens` [n_batches, batch_size, context + 1], and of each target `bytes` and
        `weight`, f32 [n_batches, batch_size, context], 1 for a target and 0 for padding. If masked also `segments`.

        Windows lie end to end, the last token of one being the first of the next, and the last may be partly padding:
        all of them together predict every token of the split but the first exactly once.
        """
        last = arrays["tokens"].size - 1
        available = self._windows(last + 1)
        count = min(self.evaluation_windows or available, available)
        starts = self.context * (np.arange(count) * available // count)
        positions = starts[:, None] + np.arange(self.context + 1)[None, :]
        real = np.minimum(positions, last)
        fields = {
            "tokens": arrays["tokens"][real],
            "bytes": arrays["bytes"][real[:, 1:]].astype(np.float32),
            "weight": (positions[:, 1:] <= last).astype(np.float32),
        }
        padding = ((0, -count % batch_size), (0, 0))
        return {
            field: np.pad(rows, padding).reshape(-1, batch_size, rows.shape[1])
            for field, rows in self._with_segments(fields).items()
        }

    def metrics(
        self, outputs: Float[Array, "batch context vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, ""], Float[Array, ""]]]:
        """`loss` and `bytes_per_token`: the cross-entropy of the targets in nats and their bytes, both summed, and
        their number."""
        weight = batch["weight"]
        count = jnp.sum(weight)
        nats = jnp.sum(weight * _cross_entropy(outputs, batch["tokens"]))
        return {"loss": (nats, count), "bytes_per_token": (jnp.sum(weight * batch["bytes"]), count)}

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means with `perplexity`, and with `bits_per_byte`: nats over bytes of the same targets, exactly.

        Of training the bytes are known where a token is a byte.
        """
        derived = {"perplexity": jnp.exp(jnp.minimum(means["loss"], LARGEST_LOSS))}
        if "bytes_per_token" in means or (self.tokenizer == "bytes" and not self._boundaries):
            derived["bits_per_byte"] = means["loss"] / means.get("bytes_per_token", 1.0) / math.log(2)
        return {**means, **derived}


def _cross_entropy(
    logits: Float[Array, "batch context vocab"] | Any, windows: Integer[Array, "batch window"]
) -> Float[Array, "batch context"]:
    """-log p(next token) in nats, in f32 whatever the logits are."""
    return of_each_token(cross_entropy, logits, windows[:, 1:].astype(jnp.int32))
