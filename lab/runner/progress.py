"""What one sees while an experiment runs: the cell, its step, the time left, the losses per activation."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from lab.comparison.time.speed import TRAINING_PASSES
from lab.experiment.experiment import Cell
from lab.report.narrow import Fitted
from lab.runner.plan import cell_directory
from lab.training.train import Row

SPEEDS = ("tokens/s", "GFLOP/s", "of peak", "memory")
LINES = 5  # that a row takes where it is folded, on a terminal of 40 columns


class Pace:
    """How long the rest takes, judged by what has been seen: every cell has a start, in which it is compiled, and then
    all its steps, each as long as it has runs.

    Times are those of one clock, in seconds.
    """

    def __init__(self, cells: Sequence[Cell], now: float):
        self._ahead = OrderedDict((cell.name, _work(cell, len(cell.runs), 0)) for cell in cells)
        self._here = 0
        self._now, self._name, self._step = now, "", 0
        self._starts: list[float] = []
        self._seconds, self._made = 0.0, 0

    def add(self, cell: Cell, step: int, runs: int, now: float) -> None:
        """Record that a number of runs of a cell have reached a step. A smaller step is the start of further runs."""
        if cell.name == self._name and step > self._step:
            self._seconds += now - self._now
            self._made += runs * (step - self._step)
        else:
            self._starts.append(now - self._now)
        while cell.name in self._ahead:  # cells come in order: what is passed over is done, or another runner's
            self._ahead.popitem(last=False)
        self._here = _work(cell, runs, step)
        self._now, self._name, self._step = now, cell.name, step

    def left(self, now: float) -> float | None:
        """Seconds from now to the end; None until the first interval is over."""
        if not self._made:
            return None
        steps = (self._here + sum(self._ahead.values())) * self._seconds / self._made
        starts = len(self._ahead) * float(np.mean(self._starts))
        return max(0.0, steps + starts - (now - self._now))


def _work(cell: Cell, runs: int, step: int) -> int:
    """Steps of single runs that are left of a cell."""
    return runs * (cell.settings.steps - step)


class Progress:
    """A live table on a terminal; elsewhere one line a finished cell.

    Given the results' `directory`, in which a cell's cost and memory are recorded, it also shows how fast the last
    interval went, evaluation included; and which share of `peak` (FLOP/s) that is, where it is known.
    """

    def __init__(
        self, cells: Sequence[Cell], console: Console, directory: Path | None = None, peak: float | None = None
    ):
        self._directory, self._peak = directory, peak
        self._last: dict[str, tuple[int, float]] = {}  # cell -> step and time of its last evaluation
        self._speeds: dict[str, tuple[str, ...]] = {}  # cell -> a text for each of SPEEDS
        self._cells, self._console = list(cells), console
        self._names = [cell.name for cell in cells]
        self._pace = Pace(cells, time.perf_counter())
        self._began: dict[str, float] = {}
        self._seen: dict[str, tuple[str, str, str]] = {}  # cell -> step, training loss, validation loss
        self._live = Live(console=console, get_renderable=self._table, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, cell: Cell, step: int, rows: list[Row]) -> None:
        """Takes the rows of an evaluation of a cell."""
        now, name, runs = time.perf_counter(), cell.name, 1 + max(row["run"] for row in rows)
        self._pace.add(cell, step, runs, now)
        if self._live and self._directory:
            self._speeds[name] = _speeds(self._directory, cell, self._passed(cell, step, runs, now), self._peak)
        began = self._began.setdefault(name, now)
        train, validation = (_median_loss(rows, split) for split in ("train", "validation"))
        self._seen[name] = (f"{step}/{cell.settings.steps}", train, validation)
        if not self._live and step == cell.settings.steps:
            self._console.print(
                f"{name}: {runs} runs, validation loss {validation}, {now - began:.0f} s, {self._left()}"
            )

    def _passed(self, cell: Cell, step: int, runs: int, now: float) -> float:
        """Tokens per second since the cell's last evaluation; nan at its first."""
        before, then = self._last.get(cell.name, (step, now))
        self._last[cell.name] = step, now
        tokens = runs * (step - before) * cell.settings.batch_size * cell.task.tokens_per_example
        return tokens / (now - then) if step > before else float("nan")

    def _table(self) -> Fitted:
        room = max(4, self._console.height - 5)  # title, header, caption and what is around them
        wide = self._rows(room)
        return wide if wide.fits(self._console.width) else self._rows(max(2, room // LINES))

    def _rows(self, room: int) -> Fitted:
        """So many rows, those before the cell that is trained and the next one."""
        table = Table(title=self._left(), caption="median loss over the runs, nats", box=None, pad_edge=False)
        table.title_justify = table.caption_justify = "left"
        table.add_column("cell", overflow="fold", min_width=16)
        for name in ("runs", "step", "train", "validation", *(SPEEDS if self._directory else ())):
            table.add_column(name, justify="right", no_wrap=True)
        last = max((self._names.index(name) for name in self._seen), default=0) + 2
        for cell, name in list(zip(self._cells, self._names, strict=True))[max(0, last - room) :][:room]:
            speeds = self._speeds.get(name, ("",) * (len(SPEEDS) if self._directory else 0))
            table.add_row(name, str(len(cell.runs)), *self._seen.get(name, ("", "", "")), *speeds)
        return Fitted(table)

    def _left(self) -> str:
        seconds = self._pace.left(time.perf_counter())
        if seconds is None:
            return "time left not known yet"
        minutes, seconds = divmod(round(seconds), 60)
        return f"time left about {minutes}:{seconds:02d}"


def _speeds(directory: Path, cell: Cell, tokens_per_second: float, peak: float | None) -> tuple[str, ...]:
    folder = cell_directory(directory, cell)
    flops = TRAINING_PASSES * folder.description()["cost"]["flops_per_token"] * tokens_per_second
    made = [environment for wave in folder.waves() if not wave.done for environment in wave.environments]
    memory = f"{made[-1]['device_bytes'] / 1e6:,.0f} MB" if made else ""
    if np.isnan(tokens_per_second):
        return "", "", "", memory
    share = "" if peak is None else f"{flops / peak:.2f}"
    return f"{tokens_per_second:,.0f}", f"{flops / 1e9:,.1f}", share, memory


def _median_loss(rows: list[Row], split: str) -> str:
    values = [row["value"] for row in rows if row["split"] == split and row["metric"] == "loss"]
    return f"{np.median(values):.3f}" if values else ""
