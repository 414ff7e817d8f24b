"""Checksums: the sha256 of files, bytes and arrays, and verification of files."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Splits = Mapping[str, Mapping[str, np.ndarray]]
"""Split -> field -> array."""


def of_bytes(content: bytes) -> str:
    """The sha256 in hex."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: Path) -> str:
    """The sha256 of a file in hex, read in pieces, as archives may not fit in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 of name, type, shape and values of all arrays, regardless of their order in the mapping."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def of_splits(splits: Splits) -> str:
    """The sha256 of the arrays of all splits."""
    return of_arrays({f"{split}/{name}": array for split, fields in splits.items() for name, array in fields.items()})


def described(splits: Splits) -> dict[str, dict[str, Any]]:
    """Split -> number of rows (`examples`) and sha256 of its arrays."""
    return {
        split: {"examples": len(next(iter(fields.values()))), "sha256": of_arrays(fields)}
        for split, fields in splits.items()
    }


def check_file(path: Path, *allowed: str) -> str:
    """The sha256 of a file. Raises ValueError, naming the file, if it is not one of those allowed."""
    sha256 = of_file(path)
    if sha256 not in allowed:
        raise ValueError(f"{path} has sha256 {sha256}, but {' or '.join(allowed)} is registered; remove the file")
    return sha256
