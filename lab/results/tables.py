"""Parquet tables, written atomically."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
from pyarrow.parquet import ParquetFile

from lab.files.atomic import write_bytes
from lab.files.damaged import DamagedFileError

Columns = Mapping[str, Literal["number", "text"]]
"""Name of a column -> its kind; `name?` is optional."""


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as Parquet."""
    write_bytes(path, table.to_parquet(index=False))


def read_table(path: Path, columns: Columns | None = None) -> pd.DataFrame:
    """Read a Parquet table as pandas: see `read_arrow`."""
    return read_arrow(path, columns).to_pandas()


def read_arrow(path: Path, columns: Columns | None = None) -> pa.Table:
    """Read a Parquet table, which must have `columns`, each of numbers or of strings.

    Raises DamagedFileError, naming the file, if it is truncated, not a Parquet file or lacks a column;
    FileNotFoundError if it is missing.
    """
    try:
        with ParquetFile(path) as file:  # faster than pandas' reader, which looks for folders
            table = file.read(use_threads=False)
        for name, kind in (columns or {}).items():
            _check_column(table, name, kind)
        return table.replace_schema_metadata(None)  # pandas' own, which says nothing that is needed
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError) as error:
        # The exceptions of pyarrow
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DamagedFileError(f"{path} is damaged ({reason}): delete it to recompute it") from None


def _check_column(table: pa.Table, name: str, kind: str) -> None:
    optional, name = name.endswith("?"), name.removesuffix("?")
    if name not in table.column_names and optional:
        return
    if name not in table.column_names:
        raise ValueError(f"there is no column '{name}'")
    found = table.schema.field(name).type
    if len(table) and not _is(found, kind):
        raise ValueError(f"column '{name}' holds {found}, but must hold {kind}s")


def _is(found: pa.DataType, kind: str) -> bool:
    if kind == "number":
        return pa.types.is_integer(found) or pa.types.is_floating(found)
    return pa.types.is_string(found) or pa.types.is_large_string(found)
