"""The data sets by name, whatever their kind: what they are, and whether they are what they should be."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.data import kept, reference_predictors
from lab.data.corpora import OWN_FILES, corpus
from lab.data.dataset import SPLITS, Dataset
from lab.data.images import images
from lab.data.speech import spoken_digits
from lab.data.tweets import tweets
from lab.files import checksums


@dataclass(frozen=True)
class Entry:
    """A set of ours: kind (text, image, tags, speech), licence, builder (`module.Class` in `lab.data.sets`) and
    the sizes of train, validation and test (bytes of text, else examples; none when they depend on the machine)."""

    kind: str
    licence: str
    builder: str
    sizes: tuple[int, ...] = ()


ENTRIES = {
    "eltec_eng": Entry("text", "public domain", "eltec_eng.EltecEng", (56_232_180, 2_649_829, 2_922_595)),
    "fashion_mnist": Entry("image", "MIT", "mnist.FashionMNIST", (55_000, 5000, 10_000)),
    "mnist": Entry("image", "CC BY-SA 3.0", "mnist.MNIST", (55_000, 5000, 10_000)),
    "spoken_digit": Entry("speech", "CC BY-SA 4.0", "spoken_digit.SpokenDigit", (2000, 250, 250)),
    "stdlib": Entry("text", "PSF-2.0", "stdlib.PythonStdlib"),
    "tiny_shakespeare": Entry("text", "public domain", "tiny_shakespeare.TinyShakespeare", (1_003_854, 55_770, 55_770)),
    "tweet_pos": Entry("tags", "CC BY 3.0", "tweet_pos.TweetPos", (14_619, 4823, 7152)),
    "wikitext2": Entry("text", "CC BY-SA 3.0", "wikitext2.WikiText2", (10_797_148, 1_121_681, 1_256_449)),
}
UNITS = {"text": "bytes", "image": "images", "tags": "words", "speech": "recordings"}
BASELINES: dict[str, Callable[[Dataset, str], dict[str, float]]] = {
    "text": reference_predictors.text_baselines,
    "image": reference_predictors.image_baselines,
    "tags": reference_predictors.tag_baselines,
    "labelled text": reference_predictors.label_baselines,
}
METRICS = {"text": "bits_per_byte", "image": "accuracy", "tags": "token_error", "labelled text": "accuracy"}
"""What a task measures of the same kind of data."""
MAX_SCORED_BYTES = 2**27
"""Bytes of arrays: the 62 MB of ELTeC are read and scored in 10 seconds of a slow core, xz taking a third of them."""


def listed(data_dir: Path | None = None) -> list[dict[str, Any]]:
    """A row a set of ours: `name`, `kind`, `licence`, `download` (bytes), `train`, `validation`, `test` (sizes, None
    when they depend on the machine), their `unit`, and `prepared`: whether it lies under `data_dir`."""
    rows = []
    for name, entry in ENTRIES.items():
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
    """text, image, tags or speech. Raises ValueError, naming the nearest set, when there is none of this name."""
    if name in ENTRIES:
        return ENTRIES[name].kind
    if name.startswith(OWN_FILES):
        return "text"
    from lab.data import stock

    stock.check(name, tuple(ENTRIES), "text or image")
    return stock.kind(name, data_dir)


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Any set, prepared first if it is not on disk; the arrays are those of its kind. Raises ValueError for an unknown
    name, naming the nearest, and what the set's own function raises."""
    loaders: dict[str, Callable[[], Dataset]] = {
        "text": lambda: corpus(name, data_dir),
        "image": lambda: images(name, data_dir),
        "tags": lambda: tweets(data_dir),
        "speech": lambda: spoken_digits(data_dir),
    }
    return loaders[kind(name, data_dir)]()


def check(name: str, data_dir: Path | None = None) -> tuple[dict[Path, str], Dataset]:
    """The files a set was made of that are on this machine, with their sha256, and the set: both as registered.

    Raises ValueError when a file or the set has another sha256, FileNotFoundError when the set is not prepared.
    """
    kind(name, data_dir)
    if name.startswith(OWN_FILES):
        return {}, load(name)
    from lab.data import prepared

    builder = _builder(name, data_dir)
    files = prepared.checked(builder, kept.data_directory(data_dir) / "downloads")
    if not builder.data_path.exists():
        raise FileNotFoundError(f"{name} is not prepared in {builder.data_path}: ablations data prepare {name}")
    return files, load(name, data_dir)


def scores(dataset: Dataset, split: str = "validation", data_dir: Path | None = None) -> dict[str, float]:
    """The baselines of a set on a split (`lab.data.reference_predictors`): bits per byte of a text,
    accuracies of images, tags and labels of texts, nothing of speech. `dataset` is the set in any form: its provenance
    names it.

    They are computed once for each content, from the set as `load` gives it, but of labelled texts from the examples,
    and kept in `<data_dir>/baselines/`. Raises what `kind` and `load` raise, ValueError for an unknown split, and
    OSError where they cannot be kept.
    """
    found = _kind(dataset, data_dir)
    if found not in BASELINES:
        return {}

    def computed() -> dict[str, float]:
        whole = dataset if found == "labelled text" else load(dataset.provenance["name"], data_dir)
        return BASELINES[found](whole, split)

    return kept.values(_kept(dataset, split, data_dir), computed)


def to_beat(dataset: Dataset, split: str, data_dir: Path | None = None) -> dict[str, dict[str, Any]]:
    """The same as what a network is measured by: baseline -> its `metric`, `split` and `value`; of tags the error.

    Nothing of a set that is none of ours or TFDS's. Raises what `scores` raises, and ValueError for a set larger than
    `MAX_SCORED_BYTES` whose baselines are not kept yet: a run would wait for them.
    """
    name = dataset.provenance.get("name", "")
    try:
        found = _kind(dataset, data_dir)
    except ValueError:  # a task of the user's own, with its own data
        return {}
    size = sum(array.nbytes for fields in dataset.arrays.values() for array in fields.values())
    if found != "labelled text" and size > MAX_SCORED_BYTES and not _kept(dataset, split, data_dir).exists():
        raise ValueError(
            f"{name} has {size:,} bytes, more than {MAX_SCORED_BYTES:,}: ablations data check {name} makes them"
        )
    return {
        baseline: {"metric": METRICS[found], "split": split, "value": 1 - score if found == "tags" else score}
        for baseline, score in scores(dataset, split, data_dir).items()
    }


def _kind(dataset: Dataset, data_dir: Path | None) -> str:
    """What its task says it is, else what its name does."""
    return dataset.provenance.get("kind") or kind(dataset.provenance.get("name", ""), data_dir)


def _kept(dataset: Dataset, split: str, data_dir: Path | None) -> Path:
    """Where the baselines of a content are kept."""
    content = json.dumps(dataset.provenance["splits"], sort_keys=True).encode()
    return kept.data_directory(data_dir) / "baselines" / f"{checksums.of_bytes(content)[:16]}-{split}.json"


def described(name: str, data_dir: Path | None = None) -> list[str]:
    """Lines on a set that was just checked: version, licence, files, splits and baselines. Raises what `check` does."""
    files, dataset = check(name, data_dir)
    facts = dataset.provenance
    licence = f", licence {ENTRIES[name].licence}" if name in ENTRIES else ""
    lines = [f"{name}, version {facts['version']}{licence}"]
    lines += [f"file {sha256} {path}" for path, sha256 in files.items()]
    for split, found in facts["splits"].items():
        unit, size = next(iter(found.items()))
        taken = facts.get("taken", {}).get(split, split)
        origin = "" if taken == split else f", {taken} of the published splits"
        lines.append(f"{split} {found['sha256']} {size:,} {unit}{origin}")
    lines += [f"baseline {baseline} {score:.4f}" for baseline, score in scores(dataset, data_dir=data_dir).items()]
    return lines


def _builder(name: str, data_dir: Path | None) -> Any:
    """The builder of a set; its `data_path` exists when the set is prepared."""
    from lab.data import prepared, stock
    from lab.data.sets import stdlib

    if name not in ENTRIES:
        return stock.find(name, data_dir)
    module, attribute = ENTRIES[name].builder.split(".")
    builder_class = getattr(importlib.import_module(f"lab.data.sets.{module}"), attribute)
    options = {"config": stdlib.config()} if name == "stdlib" else {}
    with prepared.quiet():
        return builder_class(data_dir=kept.data_directory(data_dir), **options)
