"""Atomic file writes: a reader sees either the old content or the new one."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from lab.files.damaged import DamagedFileError

LEFTOVERS = ".*.tmp"  # partially written files and partially deleted folders, which readers ignore


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """An open file that atomically replaces `path` when the block succeeds; the folder is created if it is missing.

    The content is flushed to disk (fsync) before the rename, so neither a kill nor a power cut leaves a truncated file.
    Raises OSError (disk full, read-only folder), naming the file; the old file then remains.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp creates files that only the owner can read
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or _is_of_another(error, path, temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _is_of_another(error: OSError, path: Path, temporary: str | None) -> bool:
    """Whether an error concerns a file that the block reads; a full disk names none, other errors the file written."""
    named = error.filename
    return named is not None and named != temporary and not Path(named).is_relative_to(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Atomically replace the content of `path`, as `writing` does."""
    with writing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented and in the given order."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def remove(folder: Path) -> None:
    """Delete a folder atomically for its readers; an interruption leaves a path that matches `LEFTOVERS`."""
    hidden = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.tmp")
    folder.rename(hidden)
    sweep([hidden])


def sweep(leftovers: Iterable[Path]) -> None:
    """Delete the leftovers of killed processes (paths that match `LEFTOVERS`), while the caller holds the lock.

    What cannot be deleted yet stays for the next time: on NFS, a file that is still open leaves `.nfs...` behind.
    """
    for path in list(leftovers):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def read_json(path: Path) -> Any:
    """Read a JSON value.

    Raises DamagedFileError, naming the file, if it is not JSON (for example truncated) or nested too deeply,
    FileNotFoundError if it is missing.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path} is damaged ({error}): delete it to recompute it") from None
    except RecursionError:
        raise DamagedFileError(f"{path} is damaged (nested too deeply): delete it to recompute it") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
