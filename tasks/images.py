"""Images: telling their class, and making them again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from tasks.data.images import check_images, images
from tasks.examples import Examples, check_outputs, cross_entropy, weighted
from tasks.task import Dataset


@dataclass(frozen=True)
class Images(Examples):
    """Examples that are images, uint8 [height, width, channels]; a model reads numbers from 0 to 1.

    They stay bytes until a model reads them: a quarter of the memory. Raises ValueError for an unknown set.
    """

    data: str = "fashion_mnist"
    """Labelled images; see tasks.data.images."""

    def __post_init__(self) -> None:
        check_images(self.data)

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Float[Array, "batch height width channels"]]:
        """The pixels, from 0 to 1."""
        return (batch["image"].astype(jnp.float32) / 255,)


@dataclass(frozen=True)
class ImageClassification(Images):
    """Tell the class of an image."""

    classes: int = 10
    """Number of classes."""

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"image_classification:{self.data}"

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `image`, uint8 [n, height, width, channels], and `label`, int32 [n]. Raises what `images`
        raises."""
        return images(self.data, data_dir)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError when a label is none of the classes."""
        largest = max(int(fields["label"].max()) for fields in dataset.arrays.values())
        if largest >= self.classes:
            raise ValueError(f"classes is {self.classes}, but {self.data} has the label {largest}")

    def loss(self, outputs: Float[Array, "batch classes"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the class, in nats."""
        return cross_entropy(outputs, batch["label"]).mean()

    def metrics(
        self, outputs: Float[Array, "batch classes"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`, the cross-entropy in nats, and `accuracy`: the share of images whose class is the likeliest one.

        Raises ValueError when the model tells of another number of classes.
        """
        labels, weight = batch["label"], batch["weight"]
        check_outputs(outputs, (*labels.shape, self.classes))
        right = (outputs.argmax(axis=-1) == labels).astype(jnp.float32)
        return {"loss": weighted(cross_entropy(outputs, labels), weight), "accuracy": weighted(right, weight)}


@dataclass(frozen=True)
class ImageAutoencoding(Images):
    """Make an image again of what a narrow layer holds of it (Hinton and Salakhutdinov 2006)."""

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"image_autoencoding:{self.data}"

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `image`, uint8 [n, height, width, channels]. Raises what `images` raises."""
        labelled = images(self.data, data_dir)
        arrays = {split: {"image": fields["image"]} for split, fields in labelled.arrays.items()}
        return Dataset(arrays, labelled.provenance)

    def check(self, dataset: Dataset) -> None:
        """Every set of images fits."""

    def loss(self, outputs: Float[Array, "batch pixels"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The squared error, mean over batch and pixels, which are from 0 to 1."""
        return self._squared_errors(outputs, batch).mean()

    def metrics(
        self, outputs: Float[Array, "batch pixels"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`: the mean squared error of an image, summed. Raises ValueError when the model gives another number of
        pixels."""
        return {"loss": weighted(self._squared_errors(outputs, batch), batch["weight"])}

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means, with the loss under its name, `mean_squared_error`."""
        return {**means, "mean_squared_error": means["loss"]}

    def _squared_errors(self, outputs: Array, batch: Mapping[str, Array]) -> Float[Array, " batch"]:
        """The mean squared error of every image."""
        pixels = self.inputs(batch)[0].reshape(len(outputs), -1)
        check_outputs(outputs, pixels.shape)
        return jnp.square(outputs.astype(jnp.float32) - pixels).mean(axis=-1)
