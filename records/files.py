"""Writing files so that a reader sees the old content or the new one, never half of either."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` in one step; the folder is made if it is missing.

    The content is on the disk (fsync) before the name points to it, so neither a kill nor a power cut leaves a
    truncated file. Raises OSError (disk full, read-only folder); the old file is then still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files for the owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON value, readable and in the order given."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table as Parquet."""
    write_bytes(path, table.to_parquet(index=False))


def read_json(path: Path) -> Any:
    """Reads a JSON value.

    Raises ValueError, naming the file, if it is not JSON (cut off by another program, say); FileNotFoundError if it
    is missing.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to have it made again") from None


def read_table(path: Path) -> pd.DataFrame:
    """Reads a Parquet table.

    Raises ValueError, naming the file, if it is truncated or no Parquet file; FileNotFoundError if it is missing.
    """
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ValueError(f"{path} is damaged ({str(error).splitlines()[0]}): delete it to have it made again") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
