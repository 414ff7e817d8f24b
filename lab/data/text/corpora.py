"""Corpora by name: text as bytes, in three splits, with a checksum."""

from pathlib import Path
from typing import Any

import numpy as np

from lab.data import registry
from lab.data.dataset import SPLITS, Dataset
from lab.files import checksums

OWN_FILES = "text:"
"""Prefix of a file, folder or glob of your own files: `text:notes/**/*.md`."""


def check_corpus(name: str) -> None:
    """Raises ValueError, naming the nearest corpus, for an unknown name."""
    if name in registry.names("text") or (name.startswith(OWN_FILES) and name != OWN_FILES):
        return
    # Imported lazily: TensorFlow Datasets takes 1 s to import, and nothing else here needs it.
    from lab.data.tfds import stock

    stock.check(name, (*registry.names("text"), f"{OWN_FILES}PATH (your own files)"), "text")


def corpus(name: str, data_dir: Path | None = None) -> Dataset:
    """A corpus as bytes: each of the three splits has `tokens`, uint8 [n], and `ends`, the end of each document.

    - `stdlib`: the source of the running interpreter's standard library, always available (`lab.data.sets.stdlib`).
    - `tiny_shakespeare`: 1 115 394 bytes, split 90/5/5 as TFDS does (`lab.data.sets.tiny_shakespeare`).
    - `wikitext2`: 13 175 278 bytes of word-level Wikipedia text, in the published splits (`lab.data.sets.wikitext2`).
    - `eltec_eng`: 61 804 604 bytes of English novels, split by author (`lab.data.sets.eltec_eng`).
    - `text:PATH`: your own UTF-8 files, as a file, folder or glob (`lab.data.text.own_files`).
    - any text set of TFDS by name, such as `lm1b` or `wiki40b/en`, through its builder (`lab.data.tfds.stock`).

    All but your own files are prepared once in `data_dir` (None: `TFDS_DATA_DIR`, else `~/tensorflow_datasets`) and
    read from there. The provenance has name, version, the sha256 of the splits joined in the order train,
    validation, test, and the bytes and sha256 of each. Raises ValueError for an unknown name or invalid text, and
    FileNotFoundError if the text is not on this machine and cannot be downloaded.
    """
    check_corpus(name)
    if name.startswith(OWN_FILES):
        from lab.data.text import own_files

        return _dataset(name, *own_files.read(name.removeprefix(OWN_FILES)))
    if name in registry.names("text"):
        return _dataset(name, *registry.builder(name).documents(data_dir))
    from lab.data.tfds import stock

    return _dataset(name, *stock.texts(name, data_dir))


def _dataset(name: str, texts: dict[str, list[bytes]], facts: dict[str, Any]) -> Dataset:
    """The joined texts of every split as arrays, with provenance."""
    joined = {split: b"".join(texts[split]) for split in SPLITS}
    splits = {split: {"bytes": len(text), "sha256": checksums.of_bytes(text)} for split, text in joined.items()}
    ends = {split: np.cumsum([len(text) for text in texts[split]], dtype=np.int64) for split in SPLITS}
    return Dataset(
        arrays={
            split: {"tokens": np.frombuffer(text, np.uint8), "ends": ends[split]} for split, text in joined.items()
        },
        provenance={"name": name, **facts, "sha256": checksums.of_bytes(b"".join(joined.values())), "splits": splits},
    )
