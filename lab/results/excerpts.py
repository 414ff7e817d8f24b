"""Excerpts of results: the rows of a figure and their provenance, in two small files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lab.files.atomic import read_json, write_json
from lab.results.tables import read_table, write_table

if TYPE_CHECKING:
    from lab.results.results import Results

NOT_DRAWN = ("gradient_norm", "largest_loss", "largest_gradient_norm")
MADE_WITH = ("commit", "python", "versions", "platform", "processor", "device", "device_count", "matmul_precision")


@dataclass(frozen=True)
class Excerpt:
    """Tidy rows, and their provenance in `made`: command, and commit, versions and device of every environment."""

    rows: pd.DataFrame
    made: dict[str, Any]

    def write(self, folder: Path, name: str) -> None:
        """Write FOLDER/NAME.parquet and FOLDER/NAME.json."""
        narrow = self.rows.astype(dict.fromkeys(self.rows.select_dtypes("float64"), "float32"))
        write_table(folder / f"{name}.parquet", narrow)
        write_json(folder / f"{name}.json", self.made)


def read(folder: Path) -> dict[str, Excerpt]:
    """Every excerpt in a folder, by name. Raises ValueError, naming the file, if one is damaged."""
    names = [path.stem for path in sorted(folder.glob("*.parquet"))]
    return {name: Excerpt(read_table(folder / f"{name}.parquet"), read_json(folder / f"{name}.json")) for name in names}


def of_results(results: Results) -> Excerpt:
    """The rows shown in figures, and the total seconds."""
    rows = results.rows[~results.rows["metric"].isin(NOT_DRAWN)]
    rows = rows.drop(columns=["experiment", "cell", "task", "model"])
    environments = [{name: cell["environment"].get(name) for name in MADE_WITH} for cell in results.cells]
    distinct = [made for index, made in enumerate(environments) if made not in environments[:index]]
    seconds = float(results.timing["seconds"].sum())
    made = {"command": results.experiment["command"], "seconds": round(seconds), "environments": distinct}
    return Excerpt(rows.reset_index(drop=True), made)


def json_rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a table as JSON, which has no nan and nothing infinite."""
    rows = table.replace([np.inf, -np.inf], np.nan).to_dict(orient="records")
    return [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows]
