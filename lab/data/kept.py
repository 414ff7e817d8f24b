"""The data directory, and results cached in it."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lab.files import atomic

VARIABLE = "TFDS_DATA_DIR"


def data_directory(data_dir: Path | None) -> Path:
    """The directory of prepared sets: `data_dir`, else the current `TFDS_DATA_DIR` (TFDS itself reads it only once, on
    import), else TFDS's default in the home directory. Raises FileNotFoundError if there is no home directory."""
    path = os.path.expanduser(data_dir or os.environ.get(VARIABLE) or "~/tensorflow_datasets")
    if Path(path).parts[:1] == ("~",):
        raise FileNotFoundError(f"there is no home directory for data: set {VARIABLE} to a folder")
    return Path(path).resolve()


def folder(path: Path) -> Path:
    """Create a folder if it is missing, and return it. Raises OSError, naming the variable that sets another folder, if
    it cannot be created or written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError
    except OSError as error:
        reason = error.strerror or "it is not writable"
        raise type(error)(f"data cannot be written to {path} ({reason}): set {VARIABLE} to another folder") from None
    return path


def arrays(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays returned by `make`, cached as `path` (.npz); if the file cannot be written, as in a read-only shared
    set, `make` is called each time. Raises ValueError if the file is damaged."""
    if not path.exists():
        made = make()
        with contextlib.suppress(OSError), atomic.writing(path) as file:
            np.savez(file, allow_pickle=False, **made)
        return made
    try:
        with np.load(path, allow_pickle=False) as found:
            return dict(found)
    except Exception as error:  # zipfile, zlib and NumPy raise different ones
        raise ValueError(f"{path} is damaged ({error}); remove the file") from None


def values(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON object returned by `make`, cached as `path`; a damaged file is replaced, and if the file cannot be
    written `make` is called each time."""
    try:
        return atomic.read_json(path)
    except (OSError, ValueError):
        made = make()
    with contextlib.suppress(OSError):
        atomic.write_json(path, made)
    return made
