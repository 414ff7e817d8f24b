"""Durations of training as rows, which depend on the machine's speed and are kept separate from the curves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd


class Clock:
    """Collects rows with kind, runs, start_step, step, seconds, processor_seconds (of all threads of this process) and
    tokens (over all runs; none but in training)."""

    def __init__(self, runs: int, tokens_per_step: int):
        self._runs, self._tokens = runs, tokens_per_step
        self._rows: list[dict[str, Any]] = []

    def add(self, kind: str, start: int, step: int, seconds: float, processor_seconds: float = 0.0) -> None:
        """Add a measurement; training from step `start` to `step` counts its tokens."""
        tokens = self._runs * self._tokens * (step - start) if kind == "train" else 0
        about = {"kind": kind, "runs": self._runs, "start_step": start, "step": step}
        self._rows.append({**about, "seconds": seconds, "processor_seconds": processor_seconds, "tokens": tokens})

    @contextmanager
    def measure(self, kind: str, start: int, step: int) -> Iterator[None]:
        """Add the duration of the block, if it succeeds."""
        begin, processor = time.perf_counter(), time.process_time()
        yield
        self.add(kind, start, step, time.perf_counter() - begin, time.process_time() - processor)

    def resume(self, earlier: list[dict[str, Any]]) -> None:
        """Prepend the rows of an earlier process."""
        self._rows = [*earlier, *self._rows]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, as JSON."""
        return list(self._rows)

    def table(self) -> pd.DataFrame:
        """All rows."""
        return pd.DataFrame(self._rows)
