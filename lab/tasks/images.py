"""Images: classification and autoencoding."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from lab.data.dataset import SPLITS, Dataset
from lab.data.images import check_images, images
from lab.data.order import places
from lab.files import checksums
from lab.files.choices import check_choice
from lab.tasks.augmentation import mirror_crop
from lab.tasks.examples import Examples, check_outputs, classified, cross_entropy, weighted
from lab.tasks.preparation import centring, whitening

Preparation = Literal["none", "zca", "mean"]
Augmentation = Literal["none", "mirror_crop"]


@dataclass(frozen=True)
class Images(Examples):
    """Base class of tasks on images, uint8 [height, width, channels]; a model reads numbers from 0 to 1.

    Images stay uint8 until a model reads them, a quarter of the memory. Raises ValueError for an unknown set.
    """

    data: str = "fashion_mnist"
    """Labelled images; see lab.data.images."""
    held_out: bool = True
    """Whether validation is taken from the published training images; otherwise training uses all of them and
    validation is the test split. Sets with a published validation split train on the same images either way."""

    def __post_init__(self) -> None:
        check_images(self.data)

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Float[Array, "batch height width channels"]]:
        """The pixels, from 0 to 1."""
        return (batch["image"].astype(jnp.float32) / 255,)

    def _labelled(self, data_dir: Path | None) -> Dataset:
        """The images and labels of every split. Raises what `images` raises."""
        dataset = images(self.data, data_dir)
        return dataset if self.held_out else _with_all(dataset)


@dataclass(frozen=True)
class ImageClassification(Images):
    """Predict the class of an image. Raises ValueError for an unknown set, preparation or augmentation."""

    directions: ClassVar[Mapping[str, str]] = {"accuracy": "max"}

    classes: int = 10
    """Number of classes."""
    preparation: Preparation = "none"
    """Model input: none (pixels from 0 to 1), zca (whitened), or mean (pixels minus the mean training image). The last
    two are stored as float32."""
    augmentation: Augmentation = "none"
    """Augmentation of training images: none, or mirror_crop (random mirroring and shifts by up to 4 pixels)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, choices in (("preparation", Preparation), ("augmentation", Augmentation)):
            check_choice(field, getattr(self, field), get_args(choices))

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"image_classification:{self.data}"

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `image`, [n, height, width, channels], uint8 or as prepared, and `label`, int32 [n].

        Preparation is fitted on the training split. Whitening the 50,000 images of CIFAR-10 takes about a minute and
        4 GB of memory. Raises what `images` raises.
        """
        dataset = self._labelled(data_dir)
        if self.preparation == "none":
            return dataset
        find = {"zca": whitening, "mean": centring}[self.preparation]
        prepared = find(dataset.arrays["train"]["image"])
        arrays = {split: {**fields, "image": prepared(fields["image"])} for split, fields in dataset.arrays.items()}
        return Dataset(arrays, dataset.provenance)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError if a label is not one of the classes."""
        largest = max(int(fields["label"].max()) for fields in dataset.arrays.values())
        if largest >= self.classes:
            raise ValueError(f"classes is {self.classes}, but {self.data} has the label {largest}")

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """The rows of a step, [batch_size, ...] per field, augmented; each row occurs once per epoch."""
        rows = super().batch(arrays, seed, step, batch_size)
        if self.augmentation == "none":
            return rows
        _, number = places(step, batch_size, size=1)  # with one example per epoch, epochs number the examples
        return {**rows, "image": mirror_crop(rows["image"], seed, number)}

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Float[Array, "batch height width channels"]]:
        """The pixels, from 0 to 1 or as prepared."""
        return super().inputs(batch) if self.preparation == "none" else (batch["image"],)

    def loss(self, outputs: Float[Array, "batch classes"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the class, in nats."""
        return cross_entropy(outputs, batch["label"]).mean()

    def metrics(
        self, outputs: Float[Array, "batch classes"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`, the cross-entropy in nats, and `accuracy`, the fraction of images classified correctly.

        Raises ValueError if the model has another number of classes.
        """
        return classified(outputs, batch, self.classes)


@dataclass(frozen=True)
class ImageAutoencoding(Images):
    """Reconstruct an image from a bottleneck layer (Hinton and Salakhutdinov 2006)."""

    directions: ClassVar[Mapping[str, str]] = {"mean_squared_error": "min"}

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"image_autoencoding:{self.data}"

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `image`, uint8 [n, height, width, channels]. Raises what `images` raises."""
        labelled = self._labelled(data_dir)
        arrays = {split: {"image": fields["image"]} for split, fields in labelled.arrays.items()}
        return Dataset(arrays, labelled.provenance)

    def check(self, dataset: Dataset) -> None:
        """Does nothing: every set of images fits."""

    def loss(self, outputs: Float[Array, "batch pixels"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The squared error, averaged over batch and pixels, which range from 0 to 1."""
        return self._squared_errors(outputs, batch).mean()

    def metrics(
        self, outputs: Float[Array, "batch pixels"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`: the mean squared error per image, summed. Raises ValueError if the model has another number of
        outputs."""
        return {"loss": weighted(self._squared_errors(outputs, batch), batch["weight"])}

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means, with the loss also as `mean_squared_error`."""
        return {**means, "mean_squared_error": means["loss"]}

    def _squared_errors(self, outputs: Array, batch: Mapping[str, Array]) -> Float[Array, " batch"]:
        """The mean squared error of every image."""
        pixels = self.inputs(batch)[0].reshape(len(outputs), -1)
        check_outputs(outputs, pixels.shape)
        return jnp.square(outputs.astype(jnp.float32) - pixels).mean(axis=-1)


def _with_all(dataset: Dataset) -> Dataset:
    """Return the validation images to train; validation becomes the test split."""
    train, validation, test = (dataset.arrays[split] for split in SPLITS)
    taken = dataset.provenance["taken"]
    if taken["validation"] != "validation":  # not published, but taken from the end of train
        train = {field: np.concatenate([train[field], validation[field]]) for field in train}
    size = len(next(iter(train.values())))
    arrays = {"train": train, "validation": test, "test": test}
    slices = {
        "train": "train" if taken["test"] == "test" else f"train[:{size}]",
        "validation": taken["test"],
        "test": taken["test"],
    }
    return Dataset(arrays, {**dataset.provenance, "taken": slices, "splits": checksums.described(arrays)})
