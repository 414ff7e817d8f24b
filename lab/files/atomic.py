"""Writing files so that a reader sees the old content or the new one, never half of either."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

LEFTOVERS = ".*.tmp"  # half-written files and half-deleted folders, which no reader looks at


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """An open file that replaces `path` in one step when the block ends well; the folder is made if it is missing.

    The content is on the disk (fsync) before the name points to it, so neither a kill nor a power cut leaves a
    truncated file. Raises OSError (disk full, read-only folder), naming the file; the old one is then still there.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files for the owner alone
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or _is_of_another(error, path, temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _is_of_another(error: OSError, path: Path, temporary: str | None) -> bool:
    """Whether an error is of a file that the block reads: that of a full disk names none, others what is written."""
    named = error.filename
    return named is not None and named != temporary and not Path(named).is_relative_to(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` in one step, as `writing` does."""
    with writing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON value, readable and in the order given."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def remove(folder: Path) -> None:
    """Deletes a folder in one step for its readers; what a kill leaves of it is a leftover."""
    hidden = folder.with_name(f".{folder.name}.tmp")
    folder.rename(hidden)
    shutil.rmtree(hidden)


def sweep(leftovers: Iterable[Path]) -> None:
    """Deletes what killed processes left: paths that match `LEFTOVERS`, in a folder whose lock the caller holds."""
    for path in list(leftovers):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def read_json(path: Path) -> Any:
    """Reads a JSON value.

    Raises ValueError, naming the file, if it is not JSON (cut off by another program, say); FileNotFoundError if it
    is missing.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to have it made again") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
