"""How fast the runs of an experiment were trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from records.results import Results

TRAINING_PASSES = 3  # a step costs a forward pass and a backward pass of twice its matrix products


@dataclass(frozen=True)
class Speed:
    """Seconds spent on all cells together, and the rates over the seconds of training alone."""

    seconds: dict[str, float]
    """By kind: compile, train, evaluate, checkpoint."""
    tokens_per_second: float
    """Over all runs together."""
    flops_per_second: float
    """Matrix products alone."""


def speed(results: Results) -> Speed:
    """The speed of everything that `results` holds, whenever it was trained."""
    timing = results.timing
    seconds = timing.groupby("kind")["seconds"].sum()
    flops = {cell["cell"]: cell["cost"]["flops_per_token"] for cell in results.cells}
    work = TRAINING_PASSES * (timing["tokens"] * timing["cell"].map(flops)).sum()
    training = seconds.get("train", float("nan"))
    by_kind = {str(kind): float(value) for kind, value in seconds.items()}
    return Speed(by_kind, timing["tokens"].sum() / training, work / training)
