"""Training speed of an experiment's runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from lab.results.results import Results

TRAINING_PASSES = 3  # a step costs a forward pass and a backward pass of twice its matrix products


@dataclass(frozen=True)
class Speed:
    """Seconds spent on all cells together, and throughput during training alone."""

    seconds: dict[str, float]
    """By kind: compile, train, evaluate, final_evaluation, checkpoint."""
    tokens_per_second: float
    """Summed over all runs."""
    flops_per_second: float
    """Matrix products only."""


def by_cell(results: Results) -> pd.DataFrame:
    """The training speed of every cell, one row per cell in order, with the columns cell, tokens_per_second,
    flops_per_second (matrix products only) and device_bytes (memory needed per device; nan if not recorded).
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
    """The speed over everything in `results`, across all sessions."""
    timing = results.timing
    seconds = timing.groupby("kind")["seconds"].sum()
    flops = {cell["cell"]: cell["cost"]["flops_per_token"] for cell in results.cells}
    work = TRAINING_PASSES * (timing["tokens"] * timing["cell"].map(flops)).sum()
    training = seconds.get("train", float("nan"))
    by_kind = {str(kind): float(value) for kind, value in seconds.items()}
    return Speed(by_kind, timing["tokens"].sum() / training, work / training)
