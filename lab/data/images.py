"""Labelled images by name: arrays in three splits, with a checksum."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from lab.data import kept, registry
from lab.data.dataset import SPLITS, Dataset
from lab.files import checksums

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's mode by the number of channels


def check_images(name: str) -> None:
    """Raises ValueError, naming the nearest set, for an unknown name."""
    if name not in registry.names("image"):
        # Imported lazily: TensorFlow Datasets takes 1 s to import.
        from lab.data.tfds import stock

        stock.check(name, registry.names("image"), "image")


def images(name: str, data_dir: Path | None = None) -> Dataset:
    """Labelled images: each split has `image`, uint8 [n, height, width, channels], and `label`, int32 [n].

    `mnist` and `fashion_mnist` are prepared without TensorFlow; any other image set of TFDS (`cifar10`, `cifar100`,
    ...) through its own builder (`lab.data.tfds.stock`). Examples are in TFDS's order. A split that is not published is
    taken from the end of train, and recorded as `taken` in the provenance: for both built-in sets, validation is the
    last 5000 of train and test is as published. Images are decoded once, and the arrays are cached beside the prepared
    set.

    Raises ValueError for an unknown name, images of different sizes, a label out of range, and a set with another
    sha256; FileNotFoundError if the files are not on this machine and cannot be downloaded.
    """
    check_images(name)
    from lab.data.tfds import stock

    builder = _prepared(name, data_dir)
    taken = stock.taken(builder)
    path = Path(builder.data_path, "arrays.npz")
    arrays = kept.arrays(path, lambda: _decoded(builder, taken))
    splits = {split: {field: arrays[f"{split}/{field}"] for field in ("image", "label")} for split in SPLITS}
    sha256 = checksums.of_splits(splits)
    if sha256 != getattr(builder, "ARRAYS_SHA256", sha256):
        raise ValueError(f"{path} does not have the registered sha256; remove the folder {path.parent}")
    return Dataset(
        arrays=splits,
        provenance={
            "name": name,
            "version": str(builder.version),
            "taken": taken,
            "sha256": sha256,
            "splits": checksums.described(splits),
        },
    )


def _prepared(name: str, data_dir: Path | None) -> Any:
    from lab.data.tfds import prepared, stock

    if name not in registry.names("image"):
        return stock.prepare(name, data_dir)
    return prepared.prepare(registry.builder(name), data_dir)


def _decoded(builder: Any, taken: dict[str, str]) -> dict[str, np.ndarray]:
    """Every split's arrays, by split/field."""
    import tensorflow_datasets as tfds

    from lab.data.tfds import prepared, stock

    image, label = stock.image_and_label(builder)
    feature = builder.info.features[image]
    channels = feature.shape[-1]
    if feature.np_dtype != np.uint8 or channels not in MODES:
        raise ValueError(
            f"data {builder.name!r} must have images of type uint8 with 1, 3 or 4 channels, not "
            f"{np.dtype(feature.np_dtype)} with {channels}"
        )
    n_classes = builder.info.features[label].num_classes
    # TFDS decodes with OpenCV if it is installed, else with Pillow; this code always uses Pillow.
    sources = prepared.examples(builder, taken, decoders={image: tfds.decode.SkipDecoding()})
    arrays = {}
    for split, rows in sources.items():
        where = f"{builder.name}, {split}"
        pairs = [(_pixels(row[image], channels), int(row[label])) for row in rows]
        arrays[f"{split}/image"] = stacked([pixels for pixels, _ in pairs], where)
        arrays[f"{split}/label"] = in_range([index for _, index in pairs], n_classes, where)
    return arrays


def _pixels(encoded: bytes, channels: int) -> np.ndarray:
    """uint8 [height, width, channels] of a PNG or JPEG file."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as file:
        pixels = np.asarray(file.convert(MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


def stacked(rows: list[UInt8[np.ndarray, "_ _ _"]], where: str) -> UInt8[np.ndarray, "n height width channels"]:
    """Stack images of one size. Raises ValueError, naming the first that differs, if their sizes differ."""
    for index, row in enumerate(rows):
        if row.shape != rows[0].shape:
            raise ValueError(
                f"{where}: all images must have the same size, but number {index} has {row.shape} and the first "
                f"{rows[0].shape}"
            )
    return np.stack(rows)


def in_range(labels: Iterable[int], n_classes: int, where: str) -> Int32[np.ndarray, " n"]:
    """Labels as int32 [n]. Raises ValueError, naming the first that is not within 0 to `n_classes` - 1."""
    array = np.asarray(list(labels), np.int32)
    wrong = np.flatnonzero((array < 0) | (array >= n_classes))
    if wrong.size:
        raise ValueError(f"{where}: labels must be 0 to {n_classes - 1}, but label {wrong[0]} is {array[wrong[0]]}")
    return array
