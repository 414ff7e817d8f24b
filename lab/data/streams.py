"""Token files: arrays on disk that are written once, piece by piece, and then memory-mapped."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from numpy.lib import format as npy

from lab.files import atomic


def write(path: Path, pieces: Iterable[Integer[np.ndarray, " _"]], dtype: np.dtype) -> dict[str, int | str]:
    """Write the pieces to one .npy file of this type; returns their number (`tokens`) and sha256.

    Only one piece is in memory at a time, and the file appears once it is complete. Raises OSError if the disk is full.
    """
    digest, size = hashlib.sha256(), 0
    with atomic.writing(path) as file:
        _write_header(file, dtype, 0)
        for piece in pieces:
            content = piece.astype(dtype).tobytes()
            file.write(content)
            digest.update(content)
            size += piece.size
        file.seek(0)
        _write_header(file, dtype, size)
    return {"tokens": size, "sha256": digest.hexdigest()}


def read(path: Path) -> Integer[np.ndarray, " n"]:
    """The array of a file, memory-mapped. Raises ValueError, naming the file, if it is damaged."""
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove the folder") from None


def _write_header(file, dtype: np.dtype, size: int) -> None:
    """Write the header of a vector; NumPy leaves room in it for a size that is known only at the end."""
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (size,)})
