"""Locks that die with their holder, so that a killed runner blocks nobody."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock(path: Path, wait: bool = False) -> Iterator[bool]:
    """Holds the lock file `path` while the block runs; gives False at once if somebody else holds it.

    The lock is the kernel's (flock): it is freed when the process ends, however it ends, so there is no stale lock to
    remove and the file itself says nothing. With `wait` the block starts when the lock is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)
