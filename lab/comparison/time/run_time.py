"""The measured run time of a cell, from which the cost of further runs is estimated."""

from __future__ import annotations

from dataclasses import dataclass

from lab.results.examples import Examples
from lab.results.results import Results


@dataclass(frozen=True)
class RunTime:
    """Seconds of one cell: compilation; each run without its last evaluation (of which one training step and all curve
    evaluations); and one example of the last evaluation on both splits."""

    compile: float
    run: float
    step: float
    evaluations: float
    example: float


def of_cell(results: Results, cell: str, examples: Examples) -> RunTime:
    """The times of a cell, given the examples of its last evaluation. Raises ValueError if no run is done."""
    described = next(one for one in results.cells if one["cell"] == cell)
    runs = described["done"]
    if not runs:
        raise ValueError(f"{cell} has no finished run: the pilot must be complete")
    timing = results.timing[results.timing["cell"] == cell]
    seconds = timing.groupby("kind")["seconds"].sum()
    compiled = timing.loc[timing["kind"] == "compile", "seconds"]
    train, curve, last = (float(seconds.get(kind, 0.0)) for kind in ("train", "evaluate", "final_evaluation"))
    return RunTime(
        compile=float(compiled.median()) if len(compiled) else 0.0,
        run=(train + curve + float(seconds.get("checkpoint", 0.0))) / runs,
        step=train / runs / described["settings"]["steps"],
        evaluations=curve / runs,
        example=last / runs / examples.values.shape[1],
    )
