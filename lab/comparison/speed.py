"""How fast the runs of an experiment were trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from lab.results.results import Results

TRAINING_PASSES = 3  # a step costs a forward pass and a backward pass of twice its matrix products


@dataclass(frozen=True)
class Speed:
    """Seconds spent on all cells together, and the rates over the seconds of training alone."""

    seconds: dict[str, float]
    """By kind: compile, train, evaluate, final_evaluation, checkpoint."""
    tokens_per_second: float
    """Over all runs together."""
    flops_per_second: float
    """Matrix products alone."""


def by_cell(results: Results) -> pd.DataFrame:
    """The training speed of every cell, one row each in their order, with the columns cell, tokens_per_second,
    flops_per_second (matrix products alone) and device_bytes (what a device needs; nan where it was not recorded).
    """
    timing = results.timing
    trained = timing[timing["kind"] == "train"].groupby("cell")[["tokens", "seconds"]].sum()
    rate = trained["tokens"] / trained["seconds"]
    cells = [cell for cell in results.cells if cell["cell"] in rate.index]
    return pd.DataFrame(
        {
            "cell": cell["cell"],
            "tokens_per_second": rate[cell["cell"]],
            "flops_per_second": TRAINING_PASSES * cell["cost"]["flops_per_token"] * rate[cell["cell"]],
            "device_bytes": cell["environment"].get("device_bytes", float("nan")),
        }
        for cell in cells
    )


def speed(results: Results) -> Speed:
    """The speed of everything that `results` holds, whenever it was trained."""
    timing = results.timing
    seconds = timing.groupby("kind")["seconds"].sum()
    flops = {cell["cell"]: cell["cost"]["flops_per_token"] for cell in results.cells}
    work = TRAINING_PASSES * (timing["tokens"] * timing["cell"].map(flops)).sum()
    training = seconds.get("train", float("nan"))
    by_kind = {str(kind): float(value) for kind, value in seconds.items()}
    return Speed(by_kind, timing["tokens"].sum() / training, work / training)
