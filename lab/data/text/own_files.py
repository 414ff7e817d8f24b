"""Your own text files as a corpus."""

import glob
import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.dataset import SPLITS

BY_FILE_FROM = 20  # files: then every split has at least one
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ELSEWHERE = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"(\xb5/\xfd": "compressed by zstd",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2",
    b"%PDF-": "a PDF document",
    b"PAR1": "a Parquet table",
}
"""File types by their first bytes, for files that are not UTF-8 text."""


def read(pattern: str) -> tuple[dict[str, list[bytes]], dict[str, Any]]:
    """The texts of every split, from a file, all files in a folder, or all files that match a glob.

    The glob may contain `**`; files are sorted by path. With at least 20 files the split is by file: of every 20, the
    10th is for validation and the 20th for test. With fewer, the joined text is split by position into 90, 5 and 5 %.
    Raises FileNotFoundError if nothing matches, ValueError if all files are empty, and what `text_of` raises.
    """
    paths = sorted(path for path in set(_matching(Path(os.path.expanduser(pattern)))) if path.is_file())
    if not paths:
        raise FileNotFoundError(
            f"data 'text:{pattern}' matches no file; it must be a file, folder or glob of UTF-8 text files"
        )
    texts = [text_of(path) for path in paths]
    if not any(texts):
        raise ValueError(f"data 'text:{pattern}' matches {len(paths)} files, all of them empty")
    splits = _by_position(b"".join(texts)) if len(texts) < BY_FILE_FROM else _by_file(texts)
    return splits, {"version": None, "files": len(paths)}


def text_of(path: Path) -> bytes:
    """The UTF-8 text of a file, optionally compressed with gzip or xz, without byte-order mark.

    Raises ValueError, naming the file, if it is not UTF-8 or cannot be decompressed, and OSError if it cannot be read.
    """
    content = _uncompressed(path, path.read_bytes())
    try:
        content.decode()
    except UnicodeDecodeError as error:
        found = next((name for start, name in ELSEWHERE.items() if content.startswith(start)), None)
        reason = f"it is {found}" if found else f"{error.reason} at byte {error.start}"
        raise ValueError(f"{path} is not UTF-8 text: {reason}") from None
    if _is_wide(content):
        raise ValueError(f"{path} is not UTF-8 text: every second byte is a control character, as in UTF-16")
    return content.removeprefix(BYTE_ORDER_MARK)


def _uncompressed(path: Path, content: bytes) -> bytes:
    """Decompress; the format is recognized by the first bytes, which are never UTF-8 text, not by the name."""
    try:
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        if content.startswith(b"\xfd7zXZ\0"):
            return lzma.decompress(content)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} cannot be decompressed ({error}): it is damaged or incomplete") from None
    return content


def _is_wide(content: bytes) -> bool:
    """Whether the text has 16 or 32 bits per character: most bytes at odd, or at even, places are below 9.

    They are the upper halves of characters below U+0900, which include the alphabets of Europe and the Middle East.
    Text with larger characters is rarely valid UTF-8. Text with a few NULs, or one after each line, does not count.
    """
    low = np.frombuffer(content, np.uint8) < 9
    even, odd = (low[start::2] for start in (0, 1))
    return bool(odd.size and (even.mean() > 0.5) != (odd.mean() > 0.5))


def _matching(pattern: Path) -> Iterator[Path]:
    """The matches of a glob. Leading parts that exist on disk are taken literally, including brackets; a folder stands
    for everything in it."""
    parts = pattern.parts
    there = next((n for n in range(len(parts), 0, -1) if os.path.exists(Path(*parts[:n]))), 0)
    within = ("**",) if there == len(parts) and pattern.is_dir() else parts[there:]
    return _globbed(Path(glob.escape(str(Path(*parts[:there]))), *within))


def _globbed(pattern: Path) -> Iterator[Path]:
    """The matches of a glob; a folder reached by several symbolic links, or by one inside itself, is visited once."""
    parts = pattern.parts
    if "**" not in parts:
        yield from map(Path, glob.glob(str(pattern)))
        return
    place = parts.index("**")
    for top in glob.glob(str(Path(*parts[:place]))):
        for folder in _folders(top) if os.path.isdir(top) else ():
            yield from _globbed(Path(glob.escape(folder), *(parts[place + 1 :] or ("*",))))


def _folders(top: str) -> Iterator[str]:
    """A folder and its visible subfolders, each by the first of its names. Raises OSError if one cannot be read."""
    seen = set()
    for folder, inner, _ in os.walk(top, followlinks=True, onerror=_raise):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if (real := os.path.realpath(folder)) in seen:
            inner.clear()
        else:
            seen.add(real)
            yield folder


def _raise(error: OSError) -> None:
    raise error


def _by_file(texts: list[bytes]) -> dict[str, list[bytes]]:
    held_out = {9: "validation", 19: "test"}
    splits: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for index, found in enumerate(texts):
        splits[held_out.get(index % 20, "train")].append(found)
    return splits


def _by_position(joined: bytes) -> dict[str, list[bytes]]:
    train, validation = len(joined) * 90 // 100, len(joined) * 95 // 100
    return {"train": [joined[:train]], "validation": [joined[train:validation]], "test": [joined[validation:]]}
