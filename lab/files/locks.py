"""File locks that are released when their process ends, even if it is killed."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs; yields False at once if another process holds it.

    The lock belongs to the kernel (flock): it is released when the process ends for any reason, so locks are never
    stale and the existence of the file means nothing. Where the file system lacks flock, as on some clusters, POSIX
    locks take its place, which are released likewise. With `wait`, the block starts when the lock is free. Raises
    OSError, naming the file, where the file system has neither.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _held(descriptor, path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    finally:
        os.close(descriptor)


def _held(descriptor: int, path: Path, how: int) -> bool:
    for take in (fcntl.flock, fcntl.lockf):
        try:
            take(descriptor, how)
            return True
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN):
                return False
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
                raise
    raise OSError(errno.ENOLCK, "the file system has no locks: choose a folder on another", str(path))
