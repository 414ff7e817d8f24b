"""What a cell's runs took, so that what further ones take is known."""

from __future__ import annotations

from dataclasses import dataclass

from lab.results.examples import Examples
from lab.results.results import Results


@dataclass(frozen=True)
class RunTime:
    """Seconds of one cell: to compile it; of each run but for its last evaluation (of which a step of training and all
    evaluations of the curve); and of an example of the last evaluation on both splits."""

    compile: float
    run: float
    step: float
    evaluations: float
    example: float


def of_cell(results: Results, cell: str, examples: Examples) -> RunTime:
    """The times of a cell whose last evaluation was on these examples. Raises ValueError if no run is done."""
    described = next(one for one in results.cells if one["cell"] == cell)
    runs = described["done"]
    if not runs:
        raise ValueError(f"{cell} has no finished run: the pilot must have ended")
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
