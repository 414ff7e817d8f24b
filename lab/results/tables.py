"""Parquet tables, written atomically."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from pyarrow.parquet import ParquetFile

from lab.files.atomic import write_bytes
from lab.files.damaged import DamagedFileError

Columns = Mapping[str, Literal["number", "text"]]
"""Name of a column -> its kind; `name?` is optional."""


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet."""
    write_bytes(path, table.to_parquet(index=False))


def read_table(path: Path, columns: Columns | None = None) -> pd.DataFrame:
    """Read a Parquet table, which must have `columns`, each of numbers or of strings.

    Raises DamagedFileError, naming the file, if it is truncated, not a Parquet file or lacks a column;
    FileNotFoundError if it is missing.
    """
    try:
        with ParquetFile(path) as file:  # faster than pandas' reader, which looks for folders
            table = file.read(use_threads=False).to_pandas()
        for name, kind in (columns or {}).items():
            _check_column(table, name, kind)
        return table
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
        # The exceptions of pyarrow, and of pandas if its metadata in the file are damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedFileError(f"{path} is damaged ({reason}): delete it to recompute it") from None


def _check_column(table: pd.DataFrame, name: str, kind: str) -> None:
    optional, name = name.endswith("?"), name.removesuffix("?")
    if name not in table and optional:
        return
    if name not in table:
        raise ValueError(f"there is no column '{name}'")
    values = table[name]
    holds = pd.api.types.is_numeric_dtype if kind == "number" else pd.api.types.is_string_dtype
    if len(values) and (not holds(values) or pd.api.types.is_bool_dtype(values)):
        raise ValueError(f"column '{name}' holds {values.dtype}, but must hold {kind}s")
