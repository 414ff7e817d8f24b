"""What is computed once and kept in the data directory."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lab.files import atomic

VARIABLE = "TFDS_DATA_DIR"


def data_directory(data_dir: Path | None) -> Path:
    """Where prepared sets lie: `data_dir`, else `TFDS_DATA_DIR` as it is now (TFDS reads it once, when it is imported),
    else TFDS's default, which is in the home directory. Raises FileNotFoundError when there is no home directory."""
    path = os.path.expanduser(data_dir or os.environ.get(VARIABLE) or "~/tensorflow_datasets")
    if Path(path).parts[:1] == ("~",):
        raise FileNotFoundError(f"there is no home directory to keep data in: set {VARIABLE} to a folder")
    return Path(path).resolve()


def folder(path: Path) -> Path:
    """The same folder, made if it is missing. Raises OSError, naming the variable that gives another, if it cannot be
    made or written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError
    except OSError as error:
        reason = error.strerror or "it cannot be written to"
        raise type(error)(
            f"there is no place for data in {path} ({reason}): set {VARIABLE} to another folder"
        ) from None
    return path


def arrays(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `make` gives, kept as `path` (.npz) so that it is called once; where none can be written, as in a
    prepared set that somebody else shares, it is called each time. Raises ValueError when the file is damaged."""
    if not path.exists():
        made = make()
        with contextlib.suppress(OSError), atomic.writing(path) as file:
            np.savez(file, allow_pickle=False, **made)
        return made
    try:
        with np.load(path, allow_pickle=False) as found:
            return dict(found)
    except Exception as error:  # zipfile, zlib and NumPy have each its own
        raise ValueError(f"{path} is damaged ({error}); remove the file") from None


def values(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON object that `make` gives, kept as `path`; a file that is damaged is made again, and where none can be
    written `make` is called each time."""
    try:
        return atomic.read_json(path)
    except (OSError, ValueError):
        made = make()
    with contextlib.suppress(OSError):
        atomic.write_json(path, made)
    return made
