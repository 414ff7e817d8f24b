"""What is computed once and kept: a file that is whole or absent."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def data_directory(data_dir: Path | None) -> Path:
    """Where prepared sets lie: `data_dir`, else `TFDS_DATA_DIR` as it is now (TFDS reads it once, when it is imported),
    else TFDS's default."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().resolve()


def arrays(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `make` gives, kept as `path` (.npz) so that it is called once.

    Raises ValueError when the file is damaged, and OSError when the disk is full.
    """
    if not path.exists():
        made = make()
        with whole(path) as file:
            np.savez(file, allow_pickle=False, **made)
        return made
    try:
        with np.load(path, allow_pickle=False) as found:
            return dict(found)
    except Exception as error:  # zipfile, zlib and NumPy have each its own
        raise ValueError(f"{path} is damaged ({error}); remove the file") from None


def values(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON object that `make` gives, kept as `path`; a file that is damaged is made again."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        made = make()
        with whole(path) as file:
            file.write(json.dumps(made, indent=2).encode())
        return made


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Any]:
    """A file that appears under its name when all of it is written. Raises OSError when the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with full_disk(path), unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """A full disk is an OSError that names the path: ArrayRecord's is a RuntimeError, and NumPy's names nothing."""
    sentence = os.strerror(errno.ENOSPC)
    try:
        yield
    except (OSError, RuntimeError) as error:
        if sentence not in str(error):
            raise
        raise OSError(errno.ENOSPC, sentence, str(path)) from error
