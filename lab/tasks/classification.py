"""Text classification, for example by the module of the standard library that a text comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from tokenizers import Tokenizer

from lab.data.dataset import SPLITS, Dataset
from lab.data.text.corpora import corpus
from lab.data.text.labelled_texts import MODULES, check_labelled, labelled_texts
from lab.data.text.tokenizers import TRAINED, check_tokenizer, cut, token_type, tokenizer_of, vocabulary_size
from lab.files import checksums
from lab.tasks.examples import Examples, classified, cross_entropy

Row = tuple[np.ndarray, int, int]
"""The tokens of an example, its label, and the number of the text that it is from."""


@dataclass(frozen=True)
class TextClassification(Examples):
    """Predict the class of a text.

    In your own folder each file is an example, of which the first `context` tokens are read. In the standard library
    each piece of `context` tokens is an example, and its class is the module; pieces do not overlap, and a piece that
    occurs in an earlier split is removed from later ones. The files are those of the corpus `stdlib`, so a network
    trained on that corpus has read most pieces of validation and test, though without their labels. Raises ValueError
    for an unknown name or a number out of range, FileNotFoundError for a missing tokenizer file.
    """

    directions: ClassVar[Mapping[str, str]] = {"accuracy": "max"}

    data: str = MODULES
    """Texts with labels: stdlib, or your own as folder:DIR; see lab.data.text.labelled_texts."""
    classes: int = 10
    """Number of classes; for stdlib, its N largest modules."""
    context: int = 128
    """Tokens that a model reads."""
    evaluation_texts: int = 0
    """Number of validation and test examples, spread evenly over the split; 0: all."""
    tokenizer: str = "bytes"
    """Tokens: bytes, characters, bpe, or the path of a tokenizer.json; see lab.data.text.tokenizers."""
    vocabulary: int = 0
    """Vocabulary size for characters and bpe; other tokenizers have their own."""

    def __post_init__(self) -> None:
        check_labelled(self.data)
        check_tokenizer(self.tokenizer, self.vocabulary, False)
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, not {self.classes}")
        if self.context < 1:
            raise ValueError(f"context must be at least 1 token, not {self.context}")
        if self.evaluation_texts < 0:
            raise ValueError(f"evaluation_texts must be 0 (all) or more, not {self.evaluation_texts}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"text_classification:{self.data}"

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
        return vocabulary_size(self.tokenizer, self.vocabulary, False)

    @property
    def tokens_per_example(self) -> int:
        """Tokens that a model reads per example; none of them is predicted."""
        return self.context

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `tokens` [n, context], `mask`, bool [n, context], True at tokens and False at the zeros
        behind them, and `label`, int32 [n]; validation and test also with `document`, the number of the text that
        each is from. Raises what `labelled_texts`, `corpus` and `cut` raise."""
        text = labelled_texts(self.data, self.classes, data_dir)
        tokenizer = self._tokenizer(text, data_dir)
        rows = {split: list(self._rows(fields, tokenizer)) for split, fields in text.arrays.items()}
        if self.data == MODULES:
            rows = _distinct(rows)
        for split in ("validation", "test"):
            rows[split] = _spread(rows[split], self.evaluation_texts or len(rows[split]))
        arrays = {split: self._arrays(own) for split, own in rows.items()}
        facts = {"kind": "labelled text", "vocabulary": self.vocab_size, "splits": checksums.described(arrays)}
        for split in ("validation", "test"):
            arrays[split]["document"] = np.array([number for *_, number in rows[split]], np.int32)
        return Dataset(arrays, {**text.provenance, **facts})

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError if a split has no example, or if a class has none in train."""
        for split, fields in dataset.arrays.items():
            if not len(fields["label"]):
                raise ValueError(
                    f"{self.data} has no text of {self.context} tokens in {split}: choose a smaller context"
                )
        counts = np.bincount(dataset.arrays["train"]["label"], minlength=self.classes)
        if not counts.all():
            label = dataset.provenance["labels"][counts.argmin()]
            raise ValueError(
                f"classes is {self.classes}, but train has no example of {self.context} tokens with label {label!r}"
            )

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Int[Array, "batch context"], Bool[Array, "batch context"]]:
        """The tokens, and which of them are real."""
        return batch["tokens"].astype(jnp.int32), batch["mask"]

    def loss(self, outputs: Float[Array, "batch classes"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the class, in nats."""
        return cross_entropy(outputs, batch["label"]).mean()

    def metrics(
        self, outputs: Float[Array, "batch classes"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`, the cross-entropy in nats, and `accuracy`, the fraction of texts classified correctly.

        Raises ValueError if the model has another number of classes.
        """
        return classified(outputs, batch, self.classes)

    def _tokenizer(self, text: Dataset, data_dir: Path | None) -> Tokenizer | None:
        """For the standard library that of the whole corpus, which other tasks share."""
        whole = corpus(MODULES, data_dir) if self.data == MODULES and self.tokenizer in TRAINED else text
        return tokenizer_of(whole, self.tokenizer, self.vocabulary, data_dir)

    def _rows(self, fields: Mapping[str, np.ndarray], tokenizer: Tokenizer | None) -> Iterator[Row]:
        """The examples of a split."""
        texts = (text.tobytes() for text in np.split(fields["tokens"], fields["ends"][:-1]))
        labelled = zip(cut(texts, tokenizer, self.context), fields["label"], strict=True)
        for number, (pieces, label) in enumerate(labelled):
            own = [piece for piece in pieces if len(piece) == self.context] if self.data == MODULES else pieces[:1]
            yield from ((piece, int(label), number) for piece in own)

    def _arrays(self, rows: list[Row]) -> dict[str, np.ndarray]:
        """The examples as arrays."""
        mask = np.arange(self.context)[None, :] < np.array([[len(piece)] for piece, *_ in rows], int).reshape(-1, 1)
        tokens = np.zeros(mask.shape, token_type(self.vocab_size))
        for row, (piece, *_) in zip(tokens, rows, strict=True):
            row[: len(piece)] = piece
        return {"tokens": tokens, "mask": mask, "label": np.array([label for _, label, _ in rows], np.int32)}


def _distinct(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The examples without those that occur in an earlier split."""
    seen: set[bytes] = set()
    kept = {}
    for split in SPLITS:
        kept[split] = [row for row in rows[split] if row[0].tobytes() not in seen]
        seen |= {piece.tobytes() for piece, *_ in kept[split]}
    return kept


def _spread(rows: list[Row], count: int) -> list[Row]:
    """`count` examples, evenly spread, or all if there are fewer."""
    count = min(count, len(rows))
    return [rows[index] for index in np.arange(count) * len(rows) // max(count, 1)]
