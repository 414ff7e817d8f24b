"""Data sets by name, of any kind: descriptions, checks and reference predictors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.data import kept, registry
from lab.data import reference_predictors as predictors
from lab.data.dataset import SPLITS, Dataset
from lab.data.images import images
from lab.data.registry import SETS
from lab.data.speech import spoken_digits
from lab.data.text.corpora import OWN_FILES, corpus
from lab.data.text.tweets import tweets
from lab.files import checksums

UNITS = {"text": "bytes", "image": "images", "tags": "words", "speech": "recordings"}
PREDICTORS: dict[str, Callable[[Dataset, str], dict[str, float]]] = {
    "text": predictors.text_predictors,
    "image": predictors.image_predictors,
    "tags": predictors.tag_predictors,
    "labelled text": predictors.label_predictors,
}
METRICS = {"text": "bits_per_byte", "image": "accuracy", "tags": "token_error", "labelled text": "accuracy"}
"""The metric that tasks report for each kind of data."""
MAX_SCORED_BYTES = 2**27
"""Bytes of arrays; the 62 MB of ELTeC are read and scored in 10 seconds on a slow core, a third of which is xz."""


def listed(data_dir: Path | None = None) -> list[dict[str, Any]]:
    """One row per built-in set: `name`, `kind`, `licence`, `download` (bytes), `train`, `validation`, `test` (sizes;
    None if they depend on the machine), their `unit`, and `prepared`: whether it is in `data_dir`."""
    rows = []
    for name, entry in SETS.items():
        builder = _builder(name, data_dir)
        rows.append(
            {
                "name": name,
                "kind": entry.kind,
                "licence": entry.licence,
                "download": sum(file.size for file in (builder.url_infos or {}).values()),
                **dict(zip(SPLITS, entry.sizes or (None,) * 3, strict=True)),
                "unit": UNITS[entry.kind],
                "prepared": builder.data_path.exists(),
            }
        )
    return rows


def kind(name: str, data_dir: Path | None = None) -> str:
    """text, image, tags or speech. Raises ValueError, naming the nearest set, for an unknown name."""
    if name in SETS:
        return SETS[name].kind
    if name.startswith(OWN_FILES):
        return "text"
    from lab.data.tfds import stock

    stock.check(name, tuple(SETS), "text or image")
    return stock.kind(name, data_dir)


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Load any set, preparing it first if necessary; the arrays are those of its kind. Raises ValueError for an unknown
    name, naming the nearest, and whatever the set's loader raises."""
    loaders: dict[str, Callable[[], Dataset]] = {
        "text": lambda: corpus(name, data_dir),
        "image": lambda: images(name, data_dir),
        "tags": lambda: tweets(data_dir),
        "speech": lambda: spoken_digits(data_dir),
    }
    return loaders[kind(name, data_dir)]()


def check(name: str, data_dir: Path | None = None) -> tuple[dict[Path, str], Dataset]:
    """Verify a set; returns its source files on this machine with their sha256, and the set.

    Raises ValueError if a file or the set has another sha256, FileNotFoundError if the set is not prepared.
    """
    kind(name, data_dir)
    if name.startswith(OWN_FILES):
        return {}, load(name)
    from lab.data.tfds import prepared

    builder = _builder(name, data_dir)
    files = prepared.checked(builder, kept.data_directory(data_dir) / "downloads")
    if not builder.data_path.exists():
        raise FileNotFoundError(f"{name} is not prepared in {builder.data_path}: run `ablations data prepare {name}`")
    return files, load(name, data_dir)


def scores(dataset: Dataset, split: str = "validation", data_dir: Path | None = None) -> dict[str, float]:
    """The reference predictors of a set on a split (`lab.data.reference_predictors`): bits per byte for text,
    accuracy for images, tags and labels of texts, none for speech. `dataset` is the set in any form; it is identified
    by its provenance.

    They are computed once per content, from the set as returned by `load` (for labelled texts, from the examples), and
    cached in `<data_dir>/reference_predictors/`. Raises what `kind` and `load` raise, and ValueError for an unknown
    split.
    """
    found = _kind(dataset, data_dir)
    if found not in PREDICTORS:
        return {}

    def computed() -> dict[str, float]:
        whole = dataset if found == "labelled text" else load(dataset.provenance["name"], data_dir)
        return PREDICTORS[found](whole, split)

    return kept.values(_kept(dataset, split, data_dir), computed)


def reference_predictors(dataset: Dataset, split: str, data_dir: Path | None = None) -> dict[str, dict[str, Any]]:
    """The scores in the metric of the task: predictor -> its `metric`, `split` and `value`; for tags the error.

    Empty for sets that are neither built in nor from TFDS. Raises what `scores` raises, and ValueError for a set larger
    than `MAX_SCORED_BYTES` whose predictors are not cached yet, since a run would have to wait for them.
    """
    name = dataset.provenance.get("name", "")
    try:
        found = _kind(dataset, data_dir)
    except ValueError:  # a user-defined task with its own data
        return {}
    size = sum(array.nbytes for fields in dataset.arrays.values() for array in fields.values())
    if found != "labelled text" and size > MAX_SCORED_BYTES and not _kept(dataset, split, data_dir).exists():
        raise ValueError(
            f"{name} has {size:,} bytes, more than {MAX_SCORED_BYTES:,}: run `ablations data check {name}` first"
        )
    return {
        predictor: {"metric": METRICS[found], "split": split, "value": 1 - score if found == "tags" else score}
        for predictor, score in scores(dataset, split, data_dir).items()
    }


def _kind(dataset: Dataset, data_dir: Path | None) -> str:
    """The kind stated by its task, else the kind of its name."""
    return dataset.provenance.get("kind") or kind(dataset.provenance.get("name", ""), data_dir)


def _kept(dataset: Dataset, split: str, data_dir: Path | None) -> Path:
    """The cache file of the reference predictors of a content."""
    content = json.dumps(dataset.provenance["splits"], sort_keys=True).encode()
    return kept.data_directory(data_dir) / "reference_predictors" / f"{checksums.of_bytes(content)[:16]}-{split}.json"


def described(name: str, data_dir: Path | None = None) -> list[str]:
    """Lines that describe a set: version, licence, files, splits and reference predictors. Raises as `check` does."""
    files, dataset = check(name, data_dir)
    facts = dataset.provenance
    licence = f", licence {SETS[name].licence}" if name in SETS else ""
    lines = [f"{name}, version {facts['version']}{licence}"]
    lines += [f"file {sha256} {path}" for path, sha256 in files.items()]
    for split, found in facts["splits"].items():
        unit, size = next(iter(found.items()))
        taken = facts.get("taken", {}).get(split, split)
        origin = "" if taken == split else f", {taken} of the published splits"
        lines.append(f"{split} {found['sha256']} {size:,} {unit}{origin}")
    lines += [
        f"reference predictor {predictor} {score:.4f}"
        for predictor, score in scores(dataset, data_dir=data_dir).items()
    ]
    return lines


def _builder(name: str, data_dir: Path | None) -> Any:
    """The builder of a set; its `data_path` exists when the set is prepared."""
    from lab.data.tfds import prepared, stock

    if name not in SETS:
        return stock.find(name, data_dir)
    with prepared.quiet():
        return registry.builder(name)(data_dir=kept.data_directory(data_dir))
