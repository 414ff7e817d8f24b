"""The source code of the running interpreter's standard library: a corpus that needs no network."""

import hashlib
import os
import platform
import re
import sysconfig
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from lab.data.dataset import SPLITS
from lab.data.tfds import prepared

# Excludes tests, installed packages, and code that is retired or not meant to be imported. encodings and pydoc_data are
# generated: 1.4 MB of code page tables that differ in few lines, near-copies of which would be in several splits, and
# 0.8 MB of documentation.
LEFT_OUT = {
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"),
    *("idlelib", "lib2to3", "ensurepip", "turtledemo", "encodings", "pydoc_data"),
}


def files(data_dir: Path | None = None) -> tuple[dict[str, dict[str, bytes]], dict[str, Any]]:
    """Split -> path -> text, sorted by path, and the version (of Python and of the files).

    A file's split depends only on its path: the sha256 of the path modulo 20 is 0 for validation, 1 for test. The
    prepared set is keyed by Python's version and the sha256 of paths and texts, and compared with the library after
    reading, since interpreters may share a folder. Raises FileNotFoundError if the interpreter has no source files.
    """
    builder = prepared.prepare(PythonStdlib, data_dir)
    splits = {
        split: dict(sorted((example["path"].decode(), example["text"]) for example in rows))
        for split, rows in prepared.examples(builder).items()
    }
    if _digest({path: text for rows in splits.values() for path, text in rows.items()}) != _digest(_library()):
        raise ValueError(f"the prepared set {builder.data_path} differs from the standard library; remove the folder")
    return splits, {
        "version": f"{builder.builder_config.name}:{builder.version}",
        "python": platform.python_version(),
        "files": sum(map(len, splits.values())),
    }


def config() -> Any:
    """The configuration for this library: Python's version, and the sha256 of paths and texts."""
    name = f"py{re.sub(r'[^0-9a-z]', '_', platform.python_version())}_{_digest(_library())[:8]}"
    return tfds.core.BuilderConfig(name=name, version=PythonStdlib.VERSION)


class PythonStdlib(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """One example per file: its path in the library and its bytes, in any encoding."""

    name = "python_stdlib"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, **options: Any):
        super().__init__(**{"config": config(), **options})

    @classmethod
    def documents(cls, data_dir: Path | None) -> tuple[dict[str, list[bytes]], dict[str, Any]]:
        """The texts of every split in the order of their paths, and the version. Raises what `files` raises."""
        splits, facts = files(data_dir)
        return {split: list(rows.values()) for split, rows in splits.items()}, facts

    def _info(self) -> Any:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"path": text, "text": text}))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        splits: dict[str, dict[str, bytes]] = {split: {} for split in SPLITS}
        for path, text in _library().items():
            splits[_split(path)][path] = text
        return {split: self._generate_examples(files) for split, files in splits.items()}

    def _generate_examples(self, files: dict[str, bytes]) -> Any:
        for path, text in files.items():
            yield path, {"path": path, "text": text}


def _library() -> dict[str, bytes]:
    """Relative path -> text of the files of the corpus."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        paths += [
            Path(folder, name) for name in files if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    library = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(paths)}
    if {_split(path) for path in library} != set(SPLITS):
        raise FileNotFoundError(
            f"data 'stdlib' needs the standard library's source, and {root} has {len(library)} .py files: use another "
            f"Python, or data 'text:PATH' with files of your own"
        )
    return library


def _split(path: str) -> str:
    """The split of a file, by its posix path relative to the library."""
    return {0: "validation", 1: "test"}.get(int(hashlib.sha256(path.encode()).hexdigest(), 16) % 20, "train")


def _digest(files: dict[str, bytes]) -> str:
    """The sha256 of all paths and texts."""
    lines = (f"{path} {hashlib.sha256(text).hexdigest()}\n" for path, text in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
