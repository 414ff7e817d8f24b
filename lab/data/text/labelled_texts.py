"""Labelled texts in three splits: modules of the standard library, and your own folders of files."""

import hashlib
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.dataset import SPLITS, Dataset
from lab.data.text.own_files import text_of
from lab.files import checksums
from lab.files.choices import nearest

MODULES = "stdlib"
FOLDER = "folder:"
"""Prefix of your own folder: `folder:reviews`."""
HELD_OUT = 10
"""One text in this number is for test, and one for validation."""
FILES = ("*.txt", "*.txt.gz", "*.txt.xz")

Labelled = dict[str, list[tuple[bytes, str]]]
"""Split -> its texts, each with its label."""


def check_labelled(name: str) -> None:
    """Raises ValueError, naming the nearest match, if the name is not a set of labelled texts."""
    if name == MODULES or (name.startswith(FOLDER) and name != FOLDER):
        return
    hint = nearest(name, (MODULES, f"{FOLDER}DIR"))
    raise ValueError(f"data is '{name}': allowed values are {MODULES} and {FOLDER}DIR (DIR/LABEL/*.txt){hint}")


def labelled_texts(name: str, classes: int, data_dir: Path | None = None) -> Dataset:
    """Texts as bytes: every split has `tokens`, uint8 [n], `ends`, int64 [texts], and `label`, int32 [texts].

    - `stdlib`: the `classes` largest modules (top-level packages and files) of the running interpreter's standard
      library. Each of their files becomes three texts: the first 80 % of its lines for training, the next 10 % for
      validation, the last 10 % for test.
    - `folder:DIR`: the UTF-8 files DIR/LABEL/*.txt, or DIR/{train,validation,test}/LABEL/*.txt, optionally compressed
      as .txt.gz or .txt.xz. Missing validation and test splits are taken from train: for each label one file in
      `HELD_OUT`, at least one; those whose names have the lowest sha256 for test and the next for validation.

    The provenance lists the names of the `labels` in order. Raises FileNotFoundError if there is no such folder,
    ValueError if it contains anything else or if the number of labels is not `classes`, and what `stdlib.files` raises.
    """
    check_labelled(name)
    if name == MODULES:
        splits, labels, facts = _modules(classes, data_dir)
    else:
        folder = Path(os.path.expanduser(name.removeprefix(FOLDER)))
        splits, facts = _folder(folder), {"version": None}
        labels = sorted({label for _, label in splits["train"]})
        if len(labels) != classes:
            raise ValueError(f"classes is {classes}, but {folder} has {len(labels)} labels: {', '.join(labels)}")
    arrays = {split: _arrays(splits[split], labels) for split in SPLITS}
    return Dataset(arrays, {"name": name, **facts, "labels": labels, "sha256": checksums.of_splits(arrays)})


def _arrays(texts: list[tuple[bytes, str]], labels: list[str]) -> dict[str, np.ndarray]:
    return {
        "tokens": np.frombuffer(b"".join(text for text, _ in texts), np.uint8),
        "ends": np.cumsum([len(text) for text, _ in texts], dtype=np.int64),
        "label": np.array([labels.index(label) for _, label in texts], np.int32),
    }


def _modules(classes: int, data_dir: Path | None) -> tuple[Labelled, list[str], dict[str, Any]]:
    # Imported when needed: TensorFlow Datasets takes 1 s to import.
    from lab.data.sets import stdlib

    library, facts = stdlib.files(data_dir)
    files = dict(sorted((path, text) for rows in library.values() for path, text in rows.items()))
    sizes: Counter[str] = Counter()
    for path, text in files.items():
        sizes[_module(path)] += len(text)
    if classes > len(sizes):
        raise ValueError(f"classes is {classes}, but the standard library has {len(sizes)} modules")
    labels = [module for module, _ in sizes.most_common(classes)]
    chosen = [(text, module) for path, text in files.items() if (module := _module(path)) in labels]
    parts = [(_parts(text), module) for text, module in chosen]
    splits = {split: [(own[index], module) for own, module in parts] for index, split in enumerate(SPLITS)}
    return splits, labels, {**facts, "files": len(parts)}


def _module(path: str) -> str:
    """`json` of json/decoder.py, `typing` of typing.py."""
    return path.partition("/")[0].removesuffix(".py")


def _parts(text: bytes) -> tuple[bytes, bytes, bytes]:
    """The first 80 % of the lines, the next 10 % and the last 10 %."""
    lines = text.splitlines(keepends=True)
    first, second = len(lines) * 8 // 10, len(lines) * 9 // 10
    return b"".join(lines[:first]), b"".join(lines[first:second]), b"".join(lines[second:])


def _folder(folder: Path) -> Labelled:
    """The texts of a folder of labels, or of a folder of splits with labels."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: it must have files DIR/LABEL/*.txt")
    found = [path.name for path in _folders(folder)]
    given = [name for name in found if name in SPLITS]
    if given and (others := sorted(set(found) - set(given))):
        raise ValueError(f"{folder} has the folders {', '.join(given)} and {others[0]}: use either splits or labels")
    if given and "train" not in given:
        raise ValueError(f"{folder} has a folder {given[0]}, but no folder train")
    files = {split: _labels(folder / split) for split in given} or {"train": _labels(folder)}
    if len(files["train"]) == 1:
        raise ValueError(f"{folder} has one label, {min(files['train'])!r}: it must have at least 2")
    for split, labels in files.items():
        if lacking := sorted(labels.keys() - files["train"].keys()):
            raise ValueError(f"{folder / split} has the label {lacking[0]!r}, which train lacks")
    return _read(_with_held_out(files))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _labels(folder: Path) -> dict[str, list[Path]]:
    """Label -> its files in order."""
    files = {path.name: sorted(found for name in FILES for found in path.glob(name)) for path in _folders(folder)}
    if not files:
        raise ValueError(f"{folder} has no labels: each label needs a folder with its .txt files")
    if empty := [label for label, paths in files.items() if not paths]:
        raise ValueError(f"{folder / empty[0]} has no .txt file")
    return files


def _with_held_out(files: dict[str, dict[str, list[Path]]]) -> dict[str, dict[str, list[Path]]]:
    """All three splits; missing ones are taken from train."""
    missing = [split for split in ("test", "validation") if split not in files]
    taken: dict[str, dict[str, list[Path]]] = {split: {} for split in missing}
    train = {}
    for label, paths in files["train"].items():
        share = math.ceil(len(paths) / HELD_OUT)
        if len(paths) <= share * len(missing):
            raise ValueError(
                f"label {label!r} has {len(paths)} files: it needs {len(missing) + 1}, one for each of train, "
                f"{' and '.join(missing)}"
            )
        order = sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())
        for index, split in enumerate(missing):
            taken[split][label] = sorted(order[index * share : (index + 1) * share])
        train[label] = sorted(order[len(missing) * share :])
    return {**files, **taken, "train": train}


def _read(files: dict[str, dict[str, list[Path]]]) -> Labelled:
    return {
        split: [(_text(path), label) for label, paths in labels.items() for path in paths]
        for split, labels in files.items()
    }


def _text(path: Path) -> bytes:
    text = text_of(path)
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return text
