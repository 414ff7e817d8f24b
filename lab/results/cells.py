"""The directory of a cell: its description and its waves of runs, each with rows, checkpoints and environment."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lab.files.atomic import LEFTOVERS, read_json, remove, sweep, write_json
from lab.results.tables import read_table, write_table

Identity = dict[str, int | float | str]  # a run as JSON: its seed and its hyperparameters


@dataclass(frozen=True)
class Wave:
    """Runs of a cell that were trained together, in one directory.

    `runs.json` lists them; `metrics.parquet` has their curves up to the last checkpoint, `timing.parquet` the values
    that depend on the machine's speed, `checkpoints/` the weights, `environment.json` the environments; `done` is
    written last.
    """

    path: Path
    runs: tuple[Identity, ...]

    @property
    def done(self) -> bool:
        """Whether all runs of the wave have reached the last step and all files exist.

        A missing file, for example a damaged one that a user deleted, is recomputed from the last checkpoint.
        """
        files = ("done", "environment.json", "metrics.parquet", "timing.parquet")
        return all((self.path / name).exists() for name in files)

    @property
    def started(self) -> bool:
        """Whether its runs have been recorded; from then on they stay together."""
        return (self.path / "runs.json").exists()

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def start(self, environment: dict[str, Any]) -> None:
        """Create the directory; keep the first environment, and add this one if it differs (a resumed wave)."""
        known = self.environments
        if environment not in known:
            write_json(self.path / "environment.json", [*known, environment])
        write_json(self.path / "runs.json", list(self.runs))  # last, as waves without this file are ignored

    def finish(self) -> None:
        """Mark the wave as done; must be written last."""
        write_json(self.path / "done", True)

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The environment in which the wave ran; several if it was resumed in another."""
        path = self.path / "environment.json"
        return read_json(path) if path.exists() else []

    def write(self, metrics: pd.DataFrame, timing: pd.DataFrame) -> None:
        """Replace curves and timing."""
        write_table(self.path / "metrics.parquet", metrics)
        write_table(self.path / "timing.parquet", timing)

    @property
    def has_metrics(self) -> bool:
        """Whether curves have been written."""
        return (self.path / "metrics.parquet").exists()

    def metrics(self) -> pd.DataFrame:
        """Curves: seed, hyperparameters, step, split, metric, value. Raises ValueError if the file is damaged."""
        return read_table(self.path / "metrics.parquet")

    def timing(self) -> pd.DataFrame:
        """Seconds: kind, runs, start_step, step, seconds, tokens; empty if there is none yet."""
        path = self.path / "timing.parquet"
        return read_table(path) if path.exists() else pd.DataFrame()


@dataclass(frozen=True)
class CellDirectory:
    """The directory of one cell."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock file to hold while training."""
        return self.path / "lock"

    def describe(self, description: dict[str, Any]) -> None:
        """Write `cell.json`, the description of the cell, if it is new.

        Raises ValueError if the directory contains another cell of the same name, for example one with different source
        code of a user's activation.
        """
        path = self.path / "cell.json"
        if not path.exists():
            write_json(path, description)
        elif (difference := first_difference(read_json(path), json.loads(json.dumps(description)))) is not None:
            raise ValueError(f"{self.path} was created with {difference}: choose another --out, or delete it")

    def description(self) -> dict[str, Any]:
        """The description written by `describe`."""
        return read_json(self.path / "cell.json")

    def waves(self) -> list[Wave]:
        """All waves, finished or not, sorted by name."""
        folders = sorted(self.path.glob("runs-*/runs.json"))
        return [Wave(file.parent, tuple(read_json(file))) for file in folders]

    def wave(self, runs: Sequence[Identity]) -> Wave:
        """The wave of exactly these runs."""
        digest = hashlib.sha256(json.dumps(list(runs), sort_keys=True).encode()).hexdigest()[:8]
        return Wave(self.path / f"runs-{digest}", tuple(runs))

    def missing(self, runs: Sequence[Identity]) -> list[Wave]:
        """The waves that remain to be trained for these `runs`: unfinished ones first, then a new one."""
        waves = self.waves()
        pending = [run for run in runs if not any(run in wave.runs for wave in waves if wave.done)]
        unfinished = [wave for wave in waves if not wave.done and any(run in pending for run in wave.runs)]
        fresh = [run for run in pending if not any(run in wave.runs for wave in unfinished)]
        return unfinished + ([self.wave(fresh)] if fresh else [])

    def clear(self) -> None:
        """Delete every wave, so that all runs are retrained."""
        for wave in self.waves():
            remove(wave.path)

    def sweep(self) -> None:
        """Delete leftovers of killed runners; the caller holds the lock."""
        sweep(self.path.rglob(LEFTOVERS))


def first_difference(old: Any, new: Any, path: str = "") -> str | None:
    """The first place where two JSON values differ, in words: `steps 100, not 200`; None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            found = first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    return None if old == new else f"{path} {_short(old)}, not {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
