"""Parquet tables, written atomically."""

from pathlib import Path

import pandas as pd

from lab.files.atomic import write_bytes


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet."""
    write_bytes(path, table.to_parquet(index=False))


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet table.

    Raises ValueError, naming the file, if it is truncated or not a Parquet file; FileNotFoundError if it is missing.
    """
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ValueError(f"{path} is damaged ({str(error).splitlines()[0]}): delete it to recompute it") from None
