"""Frame classification from a frame and its neighbours, as in the GELU paper (2016)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lab.tasks.examples import Examples, check_outputs, cross_entropy, weighted

NONE = -1
"""The label of frames that are not counted."""


@dataclass(frozen=True)
class Frames(Examples, ABC):
    """Base class of tasks whose examples are recordings (Hendrycks and Gimpel 2016, section 3.4), see `stacked`.

    Raises ValueError for a number out of range.
    """

    directions: ClassVar[Mapping[str, str]] = {"frame_error": "min"}

    context: int = 11
    """Frames that a model reads, with the classified one in the middle."""
    frames: int = 64
    """Maximum number of classified frames per recording."""

    def __post_init__(self) -> None:
        if self.context < 1 or self.context % 2 == 0:
            raise ValueError(f"context must be an odd number of frames, not {self.context}")
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, not {self.frames}")

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of outputs of a model per frame."""

    @property
    def tokens_per_example(self) -> int:
        """Maximum number of predictions per example."""
        return self.frames

    def stacked(
        self,
        features: Sequence[Float[np.ndarray, "_ features"]],
        labels: Sequence[Int[np.ndarray, " _"]],
    ) -> dict[str, np.ndarray]:
        """Recordings of any length as arrays: `features`, f32 [n, frames + context - 1, features], and `label`, int32
        [n, frames].

        A recording is preceded by copies of its first frame and followed by copies of its last one, which have the
        label NONE; frames beyond `frames` are cut off.
        """
        places = np.arange(self.frames + self.context - 1) - self.context // 2
        filled = [
            np.pad(own[: self.frames], (0, max(0, self.frames - len(own))), constant_values=NONE) for own in labels
        ]
        return {
            "features": np.stack([rows[places.clip(0, len(rows) - 1)].astype(np.float32) for rows in features]),
            "label": np.stack(filled).astype(np.int32),
        }

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Float[Array, "batch frames context features"]]:
        """Each frame with its neighbours."""
        seen = np.arange(self.frames)[:, None] + np.arange(self.context)[None, :]
        return (batch["features"][:, seen],)

    def loss(self, outputs: Float[Array, "batch frames classes"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy over the labelled frames of all recordings, in nats."""
        total, count = weighted(*_nats(outputs, batch["label"]))
        return total / count

    def metrics(
        self, outputs: Float[Array, "batch frames classes"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`, the cross-entropy per labelled frame in nats, and `frame_error`, the fraction of labelled frames
        classified wrongly.

        Raises ValueError if the model has another number of frames or classes.
        """
        check_outputs(outputs, (*batch["label"].shape, self.classes))
        nats, labelled = _nats(outputs, batch["label"])
        counted = labelled * batch["weight"][:, None]
        wrong = (outputs.argmax(axis=-1) != batch["label"]).astype(jnp.float32)
        return {"loss": weighted(nats, counted), "frame_error": weighted(wrong, counted)}


def moments(
    features: Sequence[Float[np.ndarray, "_ features"]],
) -> tuple[Float[np.ndarray, "1 features"], Float[np.ndarray, "1 features"]]:
    """Mean and standard deviation of each feature over the frames of all recordings."""
    rows = np.concatenate(features)
    return rows.mean(axis=0, dtype=float, keepdims=True), rows.std(axis=0, dtype=float, keepdims=True)


def _nats(
    outputs: Float[Array, "batch frames classes"], label: Int[Array, "batch frames"]
) -> tuple[Float[Array, "batch frames"], Float[Array, "batch frames"]]:
    """The cross-entropy of every frame, and 1 if it has a label, else 0."""
    return cross_entropy(outputs, jnp.maximum(label, 0)), (label != NONE).astype(jnp.float32)
