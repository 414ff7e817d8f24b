"""The cost of input: batches drawn on the device, and windows prefetched by the host.

Command: python -m benchmarks.input --json docs/benchmarks/input.json
Cost:    about 4 minutes on 2 CPU cores
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks import measure
from experiments.char_shakespeare import experiment as char_shakespeare
from experiments.fashion_vit import experiment as fashion_vit
from experiments.quickstart import experiment as quickstart
from lab.data.dataset import Dataset
from lab.experiment.experiment import Cell, Experiment, grid
from lab.report.figures import BLUE, ORANGE, STYLE
from lab.tasks.language import CausalLanguage
from lab.tasks.task import Task
from lab.training import reading
from lab.training.runs import Execution, Program, use_all_cores
from lab.training.settings import Run

EXPERIMENTS = {experiment.name: experiment for experiment in (quickstart, char_shakespeare, fashion_vit)}
STREAMS = ((12, 64), (64, 256))  # batch size, context
BUDGET = 0.02  # of a step, at most, for drawing its batch
STEP = 10.0  # ms: the step that reading has to keep up with


@dataclass(frozen=True)
class Fixed:
    """A task with one batch for every step, which is all its training data: a step without drawing."""

    task: Task
    directions: ClassVar[Mapping[str, str]] = {}

    def batch(self, arrays: Mapping[str, Any], seed: Any, step: Any, batch_size: int) -> dict[str, Any]:
        """The first rows of the batch; `lab.training.step.init` takes but one."""
        return {field: rows[:batch_size] for field, rows in arrays.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def drawing(experiment: Experiment, runs: int, repetitions: int, seconds: float) -> dict[str, Any]:
    """The cost of drawing a batch in a step of `runs` runs, trained as by `train`.

    Returns ms per step with a fixed batch and with drawn ones, arrays [repetitions]; both alternate, `seconds` each
    time, so that other load on the machine affects both.
    """
    cell, dataset = grid(experiment)[0], _random(experiment.task)
    batch = cell.task.batch(dataset.arrays["train"], 0, 0, cell.settings.batch_size)
    programs = {
        "fixed": _program(cell, Fixed(cell.task), Dataset({**dataset.arrays, "train": batch}, {}), runs),
        "drawn": _program(cell, cell.task, dataset, runs),
    }
    states = {name: program.init() for name, program in programs.items()}

    def train(name: str, steps: int) -> float:
        begin = time.perf_counter()
        states[name], _ = programs[name].train_interval(states[name], 0, steps)
        return time.perf_counter() - begin

    train("drawn", 1)  # warms up; so does `fitting` the other
    steps = measure.fitting(partial(train, "fixed"), seconds)
    sides = {name: lambda name=name: 1e3 * train(name, steps) / steps for name in programs}
    times = measure.in_turn(sides, repetitions)
    return {
        "experiment": experiment.name,
        "batch_size": cell.settings.batch_size,
        "runs": runs,
        **times,
        **programs["drawn"].description,
    }


def streaming(batch_size: int, context: int, runs: int, megabytes: int, seconds: float) -> dict[str, Any]:
    """How fast windows of a memory-mapped text are read for `runs` runs: ms per step, one number per window of batches.

    The first windows, which are prefetched before they are needed, are left out.
    """
    task = CausalLanguage(context=context)
    with tempfile.TemporaryDirectory() as folder:
        tokens = np.memmap(Path(folder) / "tokens", np.uint8, "w+", shape=megabytes * 10**6)
        tokens[:] = np.resize(np.random.default_rng(0).integers(256, size=10**6, dtype=np.uint8), tokens.size)
        arrays = {"tokens": tokens}
        length = reading.steps_at_once(task, arrays, batch_size, runs, interval=100)
        windows = reading.windows(task, arrays, batch_size, range(runs), 0, 10**9, length)
        for _ in range(2):
            next(windows)
        times: list[float] = []
        while not times or sum(times) < seconds:
            begin = time.perf_counter()
            next(windows)
            times.append(time.perf_counter() - begin)
    return {
        "batch_size": batch_size,
        "context": context,
        "runs": runs,
        "megabytes": megabytes,
        "ms_a_step": [1e3 * value / length for value in times],
    }


def table(drawn: Sequence[dict[str, Any]], streamed: Sequence[dict[str, Any]]) -> str:
    """The medians as Markdown."""
    batches = [
        [
            *(row[field] for field in ("experiment", "batch_size", "runs")),
            *(f"{np.median(row[name]):.1f}" for name in ("fixed", "drawn")),
            measure.spread(_ratios(row), 3),
        ]
        for row in drawn
    ]
    windows = []
    for row in streamed:
        read = np.mean(row["ms_a_step"])
        rate = row["runs"] * row["batch_size"] / read * 1e3
        sizes = [row[field] for field in ("batch_size", "context", "runs", "megabytes")]
        windows.append([*sizes, f"{rate:,.0f}", f"{read:.2f}", "yes" if read < STEP else "no"])
    columns = ["experiment", "batch", "runs", "fixed batch, ms per step", "drawn, ms per step", "ratio (quartiles)"]
    read_columns = ["batch", "context", "seeds", "text, MB", "windows/s", "read, ms per step"]
    return "\n\n".join(
        [
            measure.markdown(columns, batches),
            measure.markdown([*read_columns, f"fast enough for {STEP:.0f} ms steps"], windows),
        ]
    )


def figure(drawn: Sequence[dict[str, Any]], streamed: Sequence[dict[str, Any]]) -> Figure:
    """Left: the ratios, one dot per pair of measurements, and their median as a diamond; right: ms to read a step;
    dashed: the targets."""
    with mpl.rc_context(STYLE):
        whole = Figure(figsize=(9.6, 2.4), layout="constrained")
        left, right = whole.subplots(1, 2)
        ratios = {row["experiment"]: _ratios(row) for row in drawn}
        measure.dots(left, ratios, [BLUE] * len(ratios), 1 + BUDGET)
        left.set_xlabel("step with drawn batches / step with one fixed batch")
        read = {f"{row['batch_size']} x {row['context']}, {row['runs']} seeds": row["ms_a_step"] for row in streamed}
        measure.dots(right, read, [ORANGE] * len(read), STEP, np.mean)
        right.set(xlabel="ms to read the batches of a step", xlim=(0, None))
    return whole


def _ratios(row: dict[str, Any]) -> list[float]:
    return measure.ratios(row["drawn"], row["fixed"])


def _program(cell: Cell, task: Task, dataset: Dataset, runs: int) -> Program:
    seeds = [Run(seed, cell.runs[0].hyperparameters) for seed in range(runs)]
    return Program(cell.model, task, cell.settings, seeds, dataset, Execution.choose("auto", runs), "device")


def _random(task: Any) -> Dataset:
    """Random examples in the shapes of the real ones, which need not be there: 10 MB of text, 55,000 images."""
    random = np.random.default_rng(0)

    def text(size: int) -> dict[str, np.ndarray]:
        return {"tokens": random.integers(task.vocab_size, size=size, dtype=np.uint8), "bytes": np.ones(size, np.uint8)}

    def images(size: int) -> dict[str, np.ndarray]:
        image = random.integers(256, size=(size, 28, 28, 1), dtype=np.uint8)
        return {"image": image, "label": random.integers(task.classes, size=size, dtype=np.int32)}

    examples, size = (text, 10**7) if isinstance(task, CausalLanguage) else (images, 55_000)
    return Dataset({"train": examples(size), "validation": examples(1000), "test": examples(1000)}, {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and with --json write all numbers and the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for the numbers; the figure is written beside it"
    )
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), metavar="NAME")
    parser.add_argument("--runs", type=int, default=8, help="seeds")
    parser.add_argument("--repetitions", type=int, default=15, help="pairs of measurements")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement; reading takes ten times that")
    parser.add_argument("--megabytes", type=int, default=200, help="text that is read")
    of = parser.parse_args(arguments)
    use_all_cores()
    about = measure.about()
    drawn = [drawing(EXPERIMENTS[name], of.runs, of.repetitions, of.seconds) for name in of.experiments]
    streamed = [streaming(*shape, of.runs, of.megabytes, 10 * of.seconds) for shape in STREAMS]
    print(measure.heading(about, "numpy"), table(drawn, streamed), sep="\n\n")
    if of.json:
        results = {**about, "drawn": drawn, "streamed": streamed}
        measure.keep(of.json, results, figure(drawn, streamed), "What input costs")


if __name__ == "__main__":
    main()
