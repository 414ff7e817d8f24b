"""The directory of a cell: its description and its waves of runs, each with rows, checkpoints and environment."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from lab.files.atomic import LEFTOVERS, read_json, remove, sweep, write_bytes, write_json
from lab.results import shape
from lab.results.examples import Examples, Measured, decoded, joined
from lab.results.shape import read_shaped
from lab.results.tables import Columns, read_table, write_table

PARTS = ("activation", "model", "task")  # that may be a user's own
NOTHING: Mapping[str, "Code"] = {}
METRICS: Columns = {
    **dict.fromkeys(("seed", "learning_rate", "step", "value"), "number"),
    **dict.fromkeys(("split", "metric"), "text"),
}
TIMING: Columns = {
    "kind": "text",
    **dict.fromkeys(("start_step", "step", "seconds", "processor_seconds?", "tokens"), "number"),
}
MEASURED: Columns = {"split?": "text", "metric?": "text", "document?": "number", "weight?": "number"}
WAVE = re.compile("runs-[0-9a-f]{8}")
Identity = dict[str, int | float | str]  # a run as JSON: its seed and its hyperparameters

FILES = ("environment.json", "metrics.parquet", "timing.parquet")  # that a finished wave has
EXAMPLES = "examples.parquet"  # which waves of earlier versions have not


class Code(Protocol):
    """What a part of a cell computes that is a user's own."""

    def to_json(self) -> dict[str, Any]:
        """As `cell.json` has it."""
        ...

    def difference(self, known: Mapping[str, Any]) -> str | None:
        """What tells it from one that `cell.json` has, in words; None if they are the same."""
        ...


@dataclass(frozen=True)
class Wave:
    """Runs of a cell that were trained together, in one directory.

    `runs.json` says which; `metrics.parquet` has their curves up to the last checkpoint, `timing.parquet` what depends
    on the machine's speed, `examples.parquet` the last evaluation example by example, `checkpoints/` the weights,
    `environment.json` what they were made with; `done`, a list of these files, comes last.
    """

    path: Path
    runs: tuple[Identity, ...]

    @property
    def done(self) -> bool:
        """Whether all runs of the wave have reached the last step and all files exist.

        A missing file, for example a damaged one that a user deleted, is recomputed from the last checkpoint.
        """
        if not (self.path / "done").exists():
            return False
        files = read_json(self.path / "done")
        expected = FILES if files is True else read_shaped(self.path / "done", [str])
        return all((self.path / name).exists() for name in expected)

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
        write_json(self.path / "done", [*FILES, *([EXAMPLES] if (self.path / EXAMPLES).exists() else [])])

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The environment in which the wave ran; several if it was resumed in another."""
        path = self.path / "environment.json"
        return read_shaped(path, shape.ENVIRONMENTS) if path.exists() else []

    def write(self, metrics: pd.DataFrame, timing: pd.DataFrame, examples: bytes | None = None) -> None:
        """Replaces curves and timing, and the last evaluation example by example (`lab.results.examples.encoded`),
        where there is one yet."""
        if examples is not None:
            write_bytes(self.path / EXAMPLES, examples)
        write_table(self.path / "metrics.parquet", metrics)
        write_table(self.path / "timing.parquet", timing)

    @property
    def has_metrics(self) -> bool:
        """Whether curves have been written."""
        return (self.path / "metrics.parquet").exists()

    def metrics(self) -> pd.DataFrame:
        """Curves: seed, hyperparameters, step, split, metric, value. Raises ValueError if the file is damaged."""
        return read_table(self.path / "metrics.parquet", METRICS)

    def examples(self, split: str, metric: str) -> Measured | None:
        """What the examples of a split were measured at in the last evaluation; None where that was not kept. Raises
        ValueError if the file is damaged."""
        path = self.path / EXAMPLES
        if not path.exists():
            return None
        table = read_table(path, MEASURED)
        try:
            return decoded(table, split, metric)
        except (ValueError, TypeError) as error:  # a run's values that are no numbers
            raise ValueError(f"{path} is damaged ({error}): delete it to recompute it") from None

    def timing(self) -> pd.DataFrame:
        """Seconds: kind, runs, start_step, step, seconds, tokens; empty if there is none yet."""
        path = self.path / "timing.parquet"
        return read_table(path, TIMING) if path.exists() else pd.DataFrame()


@dataclass(frozen=True)
class CellDirectory:
    """The directory of one cell."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock file to hold while training."""
        return self.path / "lock"

    def describe(self, description: dict[str, Any], own_code: Mapping[str, Code] = NOTHING) -> None:
        """Writes `cell.json`, what this cell is and what the user's own code in it computes, if it is new.

        Raises ValueError if the directory holds another cell: the same name, but, say, another function of a user's.
        """
        path = self.path / "cell.json"
        if not path.exists():
            own = {"own_code": {part: code.to_json() for part, code in own_code.items()}} if own_code else {}
            write_json(path, {**description, **own})
            return
        known = self.description()
        code = changed_code(known, own_code)
        known.pop("own_code", None)
        if difference := code or first_difference(known, json.loads(json.dumps(description))):
            raise ValueError(f"{self.path} was created with {difference}: choose another --out, or delete it")

    def description(self) -> dict[str, Any]:
        """The description written by `describe`. Raises ValueError, naming the file, if it is damaged."""
        return read_shaped(self.path / "cell.json", shape.CELL)

    def waves(self) -> list[Wave]:
        """All waves, finished or not, in the order of their names; copies of one are none (see `ignored`).

        Raises ValueError, naming both folders, where two waves hold the same run.
        """
        folders = [path for path in self._folders() if WAVE.fullmatch(path.name)]
        waves = [Wave(folder, tuple(read_shaped(folder / "runs.json", shape.RUNS))) for folder in folders]
        holders: dict[str, Wave] = {}
        for wave in waves:
            for run in wave.runs:
                other = holders.setdefault(json.dumps(run, sort_keys=True), wave)
                if other is not wave:
                    raise ValueError(f"{other.path} and {wave.path} hold the same run, {run}: delete one of the two")
        return waves

    def ignored(self) -> list[str]:
        """A sentence for every folder of runs that is a copy, as file managers and sync tools make them."""
        copies = [path for path in self._folders() if not WAVE.fullmatch(path.name)]
        return [
            f"{self.path.name}/{path.name} is ignored: it is named as a copy of a folder of runs" for path in copies
        ]

    def _folders(self) -> list[Path]:
        return [file.parent for file in sorted(self.path.glob("runs-*/runs.json"))]

    def examples(self, split: str, metric: str) -> Examples | None:
        """What the examples of a split were measured at in the last evaluation of the finished runs: see
        `lab.results.examples.joined`. Raises ValueError if a file is damaged."""
        return joined([(wave.runs, wave.examples(split, metric)) for wave in self.waves() if wave.done])

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


def cell_directories(directory: Path) -> tuple[list[CellDirectory], list[str]]:
    """The cells of a results directory, and a sentence for every folder that is a copy of one: its name is not that of
    the cell it describes."""
    cells, ignored = [], []
    for path in sorted(directory.glob("cells/*/cell.json")):
        folder = CellDirectory(path.parent)
        if (name := folder.description()["cell"]) == path.parent.name:
            cells.append(folder)
        else:
            ignored.append(f"cells/{path.parent.name} is ignored: it is a copy of the cell {name}")
    return cells, ignored


def changed_code(known: Mapping[str, Any], own_code: Mapping[str, Code], parts: Sequence[str] = PARTS) -> str | None:
    """What a cell, as `cell.json` has it, was made with, where one of its parts is another now; in words.

    `own_code` tells what those of the parts compute that are a user's own now.
    """
    then = dict(known.get("own_code", {}))
    if isinstance(known["model"].get("activation"), Mapping):
        then.setdefault("activation", None)
    for part in parts:
        name = known["activation"] if part == "activation" else known[part].get("type")
        if part in then and part not in own_code:
            return f"{part} '{name}' as one of your own, which is built in now"
        if part in own_code and then.get(part) is None:
            return f"{part} '{name}', and it is not written there what that computed"
        if part in own_code and (difference := own_code[part].difference(then[part])) is not None:
            return f"another {part} '{name}' ({difference})"
    return None


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
