"""What telemetry costs: intervals of the quickstart with and without it, in turn.

Command: python -m benchmarks.telemetry --json docs/benchmarks/telemetry.json
Cost:    about 4 minutes on 2 CPU cores

An interval is 30 steps of eight runs and the evaluation of the curve. With telemetry, training also hands out the loss
and gradient norm of each step, and the evaluation is followed by a look inside all networks, whose rows are kept. Both
sides alternate, so that other load on the machine affects both. Compilation, once per cell, is measured apart.
"""

import argparse
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from experiments.quickstart import experiment as quickstart
from lab.experiment.experiment import Cell, Tuning, grid
from lab.runner.networks.inside import PROBE
from lab.training.devices.execution import Execution
from lab.training.runs import Program, use_all_cores
from lab.training.step import EACH
from lab.training.telemetry import Telemetry

TARGET = 1.03
ACTIVATIONS = ("gelu", "swiglu")


@dataclass
class Side:
    """The runs of a cell, with telemetry or without."""

    program: Program
    state: Any = None
    telemetry: Telemetry = field(default_factory=lambda: Telemetry(PROBE))

    def interval(self, steps: int) -> float:
        """Seconds of an interval of so many steps; every call repeats the first."""
        begin = time.perf_counter()
        self.state, metrics = self.program.train_interval(self.state or self.program.init(), 0, steps)
        self.program.evaluate(self.state)
        if self.program.probe:
            each = {name: values for name, values in metrics.items() if name.startswith(EACH)}
            self.telemetry.follow(steps, each)
            self.telemetry.add(steps, "validation", self.program.telemetry(self.state))
        return time.perf_counter() - begin


def measured(cell: Cell, rounds: int, steps: int | None = None) -> dict[str, Any]:
    """Seconds of the intervals of both sides, arrays [rounds], and of their compilation."""
    dataset, execution = cell.task.load(), Execution.choose("auto", len(cell.runs))
    make = partial(Program, cell.model, cell.task, cell.settings, cell.runs, dataset, execution)
    sides = {name: Side(make(probe=PROBE if name == "with" else None)) for name in ("with", "without")}
    steps = cell.settings.interval if steps is None else steps
    for side in sides.values():
        side.interval(1)  # places the data
    seconds = measure.in_turn({name: partial(side.interval, steps) for name, side in sides.items()}, rounds)
    return {
        "activation": cell.activation.name,
        "runs": len(cell.runs),
        "steps": steps,
        **seconds,
        "compile_seconds": {name: side.program.compile_seconds for name, side in sides.items()},
        **sides["without"].program.description,
    }


def table(found: list[dict[str, Any]]) -> str:
    """The medians as Markdown."""
    rows = [
        [
            row["activation"],
            row["runs"],
            *(f"{np.median(row[name]):.3f}" for name in ("without", "with")),
            measure.spread(measure.ratios(row["with"], row["without"]), 3),
            " / ".join(f"{row['compile_seconds'][name]:.1f}" for name in ("without", "with")),
        ]
        for row in found
    ]
    columns = [
        "activation",
        "runs",
        "without, s per interval",
        "with",
        "ratio (quartiles)",
        "compile, s: without / with",
    ]
    return measure.markdown(columns, rows)


def main() -> None:
    """Measure, print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=25)
    asked = parser.parse_args()
    use_all_cores()
    about = measure.about()
    plain = replace(quickstart, activations=ACTIVATIONS, tuning=Tuning())
    found = [measured(cell, asked.rounds) for cell in grid(plain)]
    print(measure.heading(about), table(found), f"target: at most {TARGET}", sep="\n\n")
    if asked.json:
        measure.write(asked.json, {"about": about, "target": TARGET, "quickstart": found})


if __name__ == "__main__":
    main()
