"""How long a grid of 1,000 arms takes to plan, read, compare and report.

Command: python -m benchmarks.many_arms --of results/quickstart
Cost:    about a minute of 1 CPU core, and 150 MB in a temporary folder

The folder is made of the rows of one trained cell of the quickstart, written for 50 activations times 20 widths; the
losses of every arm are shifted by a random number. Times are of the processor.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import measure
from experiments.quickstart import experiment as quickstart
from lab.comparison.comparison import compare
from lab.experiment.experiment import Cell, Experiment, Tuning, grid
from lab.files.atomic import read_json
from lab.report import report
from lab.results import results
from lab.results.examples import RUN
from lab.results.tables import read_table
from lab.runner import dispatch, plan
from models.activations import ACTIVATIONS

NAMES = ("gelu", *(name for name in ACTIVATIONS if name != "gelu"))[:50]
WIDTHS = tuple(range(16, 336, 16))


def experiment() -> Experiment:
    """The quickstart with 1,000 arms, at one rate."""
    rates = (quickstart.hyperparameters.learning_rate,)
    axes = (("model.d_model", WIDTHS),)
    return replace(quickstart, name="many", activations=NAMES, axes=axes, learning_rates=rates, tuning=Tuning())


def fill(cells: Sequence[Cell], folder: Path, source: Path) -> None:
    """Writes the rows of the wave in `source` for every cell."""
    tables = {name: read_table(source / f"{name}.parquet") for name in ("metrics", "timing", "examples")}
    made, rng = read_json(source / "environment.json"), np.random.default_rng(0)
    dataset = dispatch.load(cells[0].task)
    described = cells[0].description(dataset)
    for cell in cells:
        place = plan.cell_directory(folder, cell)
        axes = {**described["axes"], "d_model": cell.model.d_model}
        model = {**described["model"], **cell.canonical["model"]}
        about = {"cell": cell.name, "activation": cell.activation.name, "axes": axes, "model": model}
        place.describe({**described, **about})
        wave = place.wave([run.identity for run in cell.runs])
        wave.start(made[-1])
        shift = rng.normal(0, 0.03)
        rows = tables["metrics"].assign(learning_rate=quickstart.hyperparameters.learning_rate)
        rows["value"] += np.where(rows["metric"] == "loss", shift, 0.0)
        values = pd.Index([name for name in tables["examples"] if str(name).startswith(RUN)])
        losses = tables["examples"].copy()
        losses[values] += np.float32(shift)
        wave.write(rows, tables["timing"], losses.to_parquet(index=False))
        wave.finish()


def planned(asked: Experiment, folder: Path) -> None:
    """What is done before anything is trained."""
    asked.check(dispatch.load)
    plan.prepare(asked, folder, "python -m benchmarks.many_arms")


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the seconds of the processor."""
    begin = time.process_time()
    return function(), time.process_time() - begin


def measured(source: Path) -> pd.DataFrame:
    """One row per step."""
    folder = Path(tempfile.mkdtemp()) / "many"
    asked = experiment()
    try:
        _, planning = timed(partial(planned, asked, folder))
        fill(grid(asked), folder, source)
        found, reading = timed(lambda: results.read(folder))
        _, comparing = timed(lambda: compare(found))
        page, reporting = timed(lambda: report.write(found))
        seconds = {"plan": planning, "read": reading, "compare": comparing, "report": reporting}
        size = page.stat().st_size / 1e6
    finally:
        shutil.rmtree(folder.parent)
    return pd.DataFrame({"step": list(seconds), "seconds": list(seconds.values()), "page_mb": size})


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--of", type=Path, default=Path("results/quickstart"), help="results of the quickstart")
    asked = parser.parse_args()
    (source, *_) = sorted((asked.of / "cells").glob("gelu-*/runs-*"))
    print(measure.heading(measure.about()), measured(source).to_string(index=False), sep="\n\n")


if __name__ == "__main__":
    main()
