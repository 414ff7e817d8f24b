"""One's own text files as a corpus."""

import glob
from pathlib import Path
from typing import Any

from lab.data.dataset import SPLITS

BY_FILE_FROM = 20  # files: then every split has at least one


def read(pattern: str) -> tuple[dict[str, list[bytes]], dict[str, Any]]:
    """The texts of every split. The glob may have `**`; files are taken in the order of their paths.

    From 20 files on, the split is by file: of every 20 the 10th is for validation and the 20th for test. Of fewer, the
    joined text is cut by position into 90, 5 and 5 parts of 100. Raises FileNotFoundError when nothing matches, and
    ValueError when a file is not UTF-8 or all are empty.
    """
    paths = sorted(
        path for path in map(Path, glob.glob(str(Path(pattern).expanduser()), recursive=True)) if path.is_file()
    )
    if not paths:
        raise FileNotFoundError(f"data 'text:{pattern}' matches no file; give a glob of UTF-8 text files")
    texts = [utf8(path) for path in paths]
    if not any(texts):
        raise ValueError(f"data 'text:{pattern}' matches {len(paths)} files, all of them empty")
    splits = _by_position(b"".join(texts)) if len(texts) < BY_FILE_FROM else _by_file(texts)
    return splits, {"version": None, "files": len(paths)}


def utf8(path: Path) -> bytes:
    """The text of a file. Raises ValueError when it is not UTF-8."""
    text = path.read_bytes()
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    return text


def _by_file(texts: list[bytes]) -> dict[str, list[bytes]]:
    held_out = {9: "validation", 19: "test"}
    splits: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for index, text in enumerate(texts):
        splits[held_out.get(index % 20, "train")].append(text)
    return splits


def _by_position(text: bytes) -> dict[str, list[bytes]]:
    train, validation = len(text) * 90 // 100, len(text) * 95 // 100
    return {"train": [text[:train]], "validation": [text[train:validation]], "test": [text[validation:]]}
