"""Any text or image set of TFDS by name, prepared by its TFDS builder; only the preparation needs TensorFlow."""

import functools
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from lab.data import kept
from lab.data.dataset import SPLITS
from lab.data.tfds import prepared
from lab.files.choices import nearest

PREFIX = "tfds:"
"""Prefix that selects the TFDS builder for a set that is also built in: `tfds:mnist`."""
HELD_OUT = 5000  # examples, as is common for MNIST and CIFAR-10
MAX_TEXT_BYTES = 2**30  # bytes of text taken from a split, since corpora are held in memory


def check(name: str, ours: Sequence[str], kind: str) -> None:
    """Raises ValueError, naming the nearest, if TFDS cannot find a set called `name`.

    `ours` are the built-in sets, `kind` is text or image. Without TensorFlow, TFDS knows only some of its names; others
    count if they are prepared.
    """
    base = _base(name)
    registered = tfds.list_builders(with_community_datasets=False)
    if base and (base in registered or any((kept.data_directory(None) / base).rglob("dataset_info.json"))):
        return
    more = "" if has_tensorflow() else " (most of which need TensorFlow to be found)"
    allowed = f"{', '.join(ours)} and other {kind} sets of TFDS{more}"
    raise ValueError(f"data is '{name}': allowed values are {allowed}{nearest(base, [*ours, *registered])}")


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; it is not imported."""
    return importlib.util.find_spec("tensorflow") is not None


def find(name: str, data_dir: Path | None) -> Any:
    """The builder of a set; its `data_path` exists if the set is prepared. Raises ValueError if TFDS has the set, but
    not the requested configuration or version."""
    try:
        return tfds.builder(name.removeprefix(PREFIX), data_dir=kept.data_directory(data_dir))
    except (AssertionError, ValueError):
        builder_class = tfds.builder_cls(_base(name))
        configurations = ", ".join(builder_class.builder_configs) or "none"
        raise ValueError(
            f"data {name!r} is not what TFDS has: {_base(name)} in version {builder_class.VERSION}, configurations "
            f"{configurations}"
        ) from None


def prepare(name: str, data_dir: Path | None) -> Any:
    """The builder of a set, prepared first if it is not on disk, which needs TensorFlow.

    Cached downloads are checked first, which TFDS does not do. Raises ValueError if TensorFlow or another library that
    the builder needs is missing, or if a cached file does not have the registered sha256, and FileNotFoundError if the
    files cannot be obtained.
    """
    directory = kept.data_directory(data_dir)
    found = find(name, directory)
    if not found.data_path.exists():
        if not has_tensorflow():
            raise ValueError(
                f"data {name!r} is prepared by its builder in TFDS, which needs TensorFlow: pip install "
                f"'activation-ablations[tf]', or prepare it elsewhere as array_record and copy it to {found.data_path}"
            )
        _check_downloads(found, directory / "downloads")
    try:
        return prepared.prepare(functools.partial(tfds.builder, name.removeprefix(PREFIX)), directory)
    except ImportError as error:
        raise ValueError(f"data {name!r} needs {error.name or error} to be prepared: {error}") from error


def _check_downloads(builder: Any, downloads: Path) -> None:
    there = prepared.checked(builder, downloads)
    missing = [url for url in builder.url_infos or {} if prepared.cache_path(builder, url, downloads) not in there]
    for url in missing[:1]:
        prepared.probe(builder, url, downloads)


def kind(name: str, data_dir: Path | None) -> str:
    """`image` if a set has labelled images, else `text` if it has text. Raises ValueError if it has neither."""
    features = find(name, data_dir).info.features
    kinds = [type(feature) for feature in features.values()]
    if {tfds.features.Image, tfds.features.ClassLabel} <= set(kinds):
        return "image"
    if tfds.features.Text in kinds:
        return "text"
    raise ValueError(f"data {name!r} has neither labelled images nor text, only {', '.join(sorted(features))}")


def _base(name: str) -> str:
    """The set's name without configuration and version: `wiki40b` for `wiki40b/en:1.3.0`."""
    return re.split("[/:]", name.removeprefix(PREFIX))[0]


def taken(builder: Any) -> dict[str, str]:
    """The source of each of the three splits, as slices in TFDS's notation.

    A validation or test split that is not published is taken from the end of train, test last: `HELD_OUT` examples, or
    10 % of train if that is less. Raises ValueError if there is no train split, or if one with fewer than 10 examples
    would have to be cut.
    """
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    if "train" not in sizes:
        raise ValueError(f"data {builder.name!r} has no train split, only {', '.join(sizes)}")
    stop, held_out = sizes["train"], min(HELD_OUT, sizes["train"] // 10)
    slices = {split: split for split in SPLITS}
    for split in ("test", "validation"):
        if split not in sizes:
            slices[split] = f"train[{stop - held_out}:{stop}]"
            stop -= held_out
            slices["train"] = f"train[:{stop}]"
    if held_out == 0 and slices["train"] != "train":
        raise ValueError(f"data {builder.name!r} has {stop} training examples, too few to take other splits from")
    return slices


def texts(name: str, data_dir: Path | None) -> tuple[dict[str, list[bytes]], dict[str, Any]]:
    """The documents of every split, and the version and origin of the splits.

    A document is the feature `text`, or all texts of an example, one per line, in the order of their names. Longer
    splits are truncated to the documents that fit into 2^30 bytes. Raises ValueError if the set has no text, and what
    `prepare` raises.
    """
    builder = prepare(name, data_dir)
    features = sorted(builder.info.features.items())  # the original order differs between processes
    fields = [key for key, feature in features if isinstance(feature, tfds.features.Text)]
    if not fields:
        raise ValueError(f"data {name!r} has no text, only {', '.join(sorted(builder.info.features))}")
    fields = ["text"] if "text" in fields else fields
    slices = taken(builder)
    documents = {
        split: (b"\n".join(example[field] for field in fields) for example in source)
        for split, source in prepared.examples(builder, slices).items()
    }
    texts = {split: [b"\n".join(_first(documents[split]))] for split in SPLITS}
    return texts, {"version": str(builder.version), "taken": slices}


def _first(documents: Iterable[bytes]) -> Iterator[bytes]:
    """The first documents, as long as they fit into `MAX_TEXT_BYTES` bytes."""
    size = 0
    for document in documents:
        size += len(document) + 1
        if size > MAX_TEXT_BYTES:
            return
        yield document


def image_and_label(builder: Any) -> tuple[str, str]:
    """The names of the features: `image` and `label`, or else the only image and the only class label.

    Raises ValueError if there are none, or several with other names.
    """
    classes = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    names = []
    for wanted, feature_class in classes.items():
        found = [key for key, feature in builder.info.features.items() if isinstance(feature, feature_class)]
        if wanted not in found and len(found) != 1:
            raise ValueError(
                f"data {builder.name!r} must have one {wanted} per example to be a set of labelled images; its "
                f"features are {', '.join(sorted(builder.info.features))}"
            )
        names.append(wanted if wanted in found else found[0])
    return names[0], names[1]
