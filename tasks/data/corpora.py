"""Corpora by name: text as bytes, in three splits, with a checksum of what was read."""

import difflib
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from tasks.task import SPLITS, Dataset

CORPORA = ("stdlib", "tiny_shakespeare")
OWN_FILES = "text:"
"""Before a glob, it names one's own files: `text:notes/**/*.md`."""


def check_corpus(name: str) -> None:
    """Raises ValueError, naming the nearest corpus, when there is none of this name."""
    if name in CORPORA or (name.startswith(OWN_FILES) and name != OWN_FILES):
        return
    nearest = difflib.get_close_matches(name, CORPORA, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"data must be {', '.join(CORPORA)} or text:GLOB (one's own files), not {name!r}{hint}")


def corpus(name: str, data_dir: Path | None = None) -> Dataset:
    """A corpus as bytes: each of the three splits has the one field `tokens`, uint8 [n].

    - `stdlib`: the source of the running interpreter's standard library, always at hand (`tasks.data.stdlib`).
    - `tiny_shakespeare`: 1 115 394 bytes, split 90/5/5 as TFDS does (`tasks.data.tiny_shakespeare`).
    - `text:GLOB`: one's own UTF-8 files (`tasks.data.own_files`).

    The first two are prepared once under `data_dir` (None: `TFDS_DATA_DIR`, else `~/tensorflow_datasets`) and read from
    there. The provenance has name, version, number of files, the sha256 of the splits joined in the order train,
    validation, test, and the bytes and sha256 of each. Raises ValueError for an unknown name or unfit text, and
    FileNotFoundError when the text is neither on this machine nor to be downloaded.
    """
    check_corpus(name)
    # Imported when needed: TensorFlow Datasets takes 1.5 s to import, and nothing else needs it.
    if name == "stdlib":
        from tasks.data import stdlib

        return _dataset(name, *stdlib.read(data_dir))
    if name == "tiny_shakespeare":
        from tasks.data import tiny_shakespeare

        return _dataset(name, *tiny_shakespeare.read(data_dir))
    from tasks.data import own_files

    return _dataset(name, *own_files.read(name.removeprefix(OWN_FILES)))


def _dataset(name: str, texts: dict[str, list[bytes]], facts: dict[str, Any]) -> Dataset:
    """The joined texts of every split as arrays, described."""
    joined = {split: b"".join(texts[split]) for split in SPLITS}
    splits = {split: {"bytes": len(text), "sha256": _sha256(text)} for split, text in joined.items()}
    return Dataset(
        arrays={split: {"tokens": np.frombuffer(text, np.uint8)} for split, text in joined.items()},
        provenance={"name": name, **facts, "sha256": _sha256(b"".join(joined.values())), "splits": splits},
    )


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
