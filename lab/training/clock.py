"""Durations of training as rows, which depend on the machine's speed and are kept separate from the curves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd


class Clock:
    """Collects rows with kind, runs, start_step, step, seconds and tokens (over all runs; 0 except in training)."""

    def __init__(self, runs: int, tokens_per_step: int):
        self._runs, self._tokens = runs, tokens_per_step
        self._rows: list[dict[str, Any]] = []

    def add(self, kind: str, start: int, step: int, seconds: float) -> None:
        """Add a measurement; training from step `start` to `step` counts its tokens."""
        tokens = self._runs * self._tokens * (step - start) if kind == "train" else 0
        self._rows.append(
            {"kind": kind, "runs": self._runs, "start_step": start, "step": step, "seconds": seconds, "tokens": tokens}
        )

    @contextmanager
    def measure(self, kind: str, start: int, step: int) -> Iterator[None]:
        """Add the duration of the block, if it succeeds."""
        begin = time.perf_counter()
        yield
        self.add(kind, start, step, time.perf_counter() - begin)

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
