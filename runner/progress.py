"""What one sees while an experiment runs: the cell, its step, the time left, the losses per activation."""

import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.experiment import Cell
from training.train import Row


class Progress:
    """A live table on a terminal; elsewhere one line a finished cell."""

    def __init__(self, cells: Sequence[Cell], console: Console):
        self._cells, self._console = list(cells), console
        self._began: dict[str, float] = {}
        self._step: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._loss: dict[str, dict[str, str]] = {}
        self._seconds: list[float] = []  # of one run's step, newest cell last
        self._live = Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self._live:
            self._live.start()
            self._live.update(self._table())
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, cell: Cell, step: int, rows: list[Row]) -> None:
        """Takes the rows of an evaluation of a cell."""
        now = time.perf_counter()
        self._began.setdefault(cell.name, now)
        self._first.setdefault(cell.name, step)
        self._step[cell.name] = step
        losses = self._loss.setdefault(cell.name, {})
        for split in ("train", "validation"):
            values = [row["value"] for row in rows if row["split"] == split and row["metric"] == "loss"]
            if values:
                losses[split] = f"{np.median(values):.3f}"
        if self._live:
            self._live.update(self._table())
        elif step == cell.settings.steps:
            took = now - self._began[cell.name]
            self._console.print(f"{cell.name}: {len(cell.runs)} runs, validation loss {losses['validation']}, {took:.0f} s")

    def _table(self) -> Table:
        table = Table(title=f"time left about {self._left()}", title_justify="left", box=None, pad_edge=False)
        for name, justify in (("cell", "left"), ("runs", "right"), ("step", "right"), ("train", "right"), ("validation", "right")):
            table.add_column(name, justify=justify)
        for cell in self._cells:
            step, losses = self._step.get(cell.name), self._loss.get(cell.name, {})
            place = "" if step is None else f"{step}/{cell.settings.steps}"
            table.add_row(cell.name, str(len(cell.runs)), place, losses.get("train", ""), losses.get("validation", ""))
        table.caption = "median loss over the runs, nats"
        table.caption_justify = "left"
        return table

    def _left(self) -> str:
        """The remaining steps at the pace so far; unknown until the first interval is over."""
        made = sum((self._step[name] - self._first[name]) for name in self._step)
        spent = sum(time.perf_counter() - began for began in list(self._began.values())[:1])
        if not made or not spent:
            return "unknown yet"
        remaining = sum(cell.settings.steps - self._step.get(cell.name, 0) for cell in self._cells)
        seconds = int(remaining * spent / made)
        return f"{seconds // 60}:{seconds % 60:02d}"
