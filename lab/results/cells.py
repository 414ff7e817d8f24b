"""The directory of a cell: its description and its waves of runs, each with rows, checkpoints and environment."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from lab.files.atomic import LEFTOVERS, read_json, remove, sweep, write_bytes, write_json
from lab.files.damaged import DamagedFileError
from lab.results import shape
from lab.results.examples import Examples, Measured, decoded, joined
from lab.results.shape import read_shaped
from lab.results.tables import Columns, read_arrow, write_table

PARTS = ("activation", "model", "task")  # that may be user-defined
NOTHING: Mapping[str, "Code"] = {}
METRICS: Columns = {
    **dict.fromkeys(("seed", "learning_rate", "step", "value"), "number"),
    **dict.fromkeys(("split", "metric"), "text"),
}
INSIDE: Columns = {**METRICS, "layer": "text", "site": "text"}
TIMING: Columns = {
    "kind": "text",
    **dict.fromkeys(("start_step", "step", "seconds", "processor_seconds?", "tokens"), "number"),
}
MEASURED: Columns = {"split?": "text", "metric?": "text", "document?": "number", "weight?": "number"}
WAVE = re.compile("runs-[0-9a-f]{8}")
Identity = dict[str, int | float | str]  # a run as JSON: seed and hyperparameters

FILES = ("environment.json", "metrics.parquet", "timing.parquet")  # of a finished wave
EXAMPLES = "examples.parquet"  # missing in waves of earlier versions
TELEMETRY = "telemetry.parquet"  # only if it was asked for


class Code(Protocol):
    """The computation of a user-defined part of a cell."""

    def to_json(self) -> dict[str, Any]:
        """The record in `cell.json`."""
        ...

    def difference(self, known: Mapping[str, Any]) -> str | None:
        """The difference to a record in `cell.json`, in words; None if there is none."""
        ...


@dataclass(frozen=True)
class Wave:
    """Runs of a cell that are trained together, in one directory.

    `runs.json` lists the runs; `metrics.parquet` has their curves up to the last checkpoint, `timing.parquet` the
    timings, `examples.parquet` the per-example values of the last evaluation, `telemetry.parquet`, if asked for, what
    happened inside the networks, `checkpoints/` the weights, and `environment.json` the environment; `done`, a list of
    these files, is written last.
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
        """Create the directory; keep the first environment, and append this one if it differs (a resumed wave)."""
        known = self.environments
        if environment not in known:
            write_json(self.path / "environment.json", [*known, environment])
        write_json(self.path / "runs.json", list(self.runs))  # last, since waves without this file are ignored

    def finish(self) -> None:
        """Mark the wave as done; must be called last."""
        write_json(
            self.path / "done", [*FILES, *(name for name in (EXAMPLES, TELEMETRY) if (self.path / name).exists())]
        )

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The environment of the wave; several if it was resumed in another one."""
        path = self.path / "environment.json"
        return read_shaped(path, shape.ENVIRONMENTS) if path.exists() else []

    def write(
        self,
        metrics: pd.DataFrame,
        timing: pd.DataFrame,
        examples: bytes | None = None,
        telemetry: pd.DataFrame | None = None,
    ) -> None:
        """Replace curves and timing, and the per-example values of the last evaluation
        (`lab.results.examples.encoded`) and telemetry, if there are any yet."""
        if examples is not None:
            write_bytes(self.path / EXAMPLES, examples)
        if telemetry is not None:
            write_table(self.path / TELEMETRY, telemetry)
        write_table(self.path / "metrics.parquet", metrics)
        write_table(self.path / "timing.parquet", timing)

    @property
    def has_metrics(self) -> bool:
        """Whether curves have been written."""
        return (self.path / "metrics.parquet").exists()

    def metrics(self) -> pd.DataFrame:
        """`curves` as pandas."""
        return self.curves().to_pandas()

    def curves(self) -> pa.Table:
        """Curves: seed, hyperparameters, step, split, metric, value. Raises ValueError if the file is damaged."""
        return read_arrow(self.path / "metrics.parquet", METRICS)

    def examples(self, split: str, metric: str) -> Measured | None:
        """Per-example values of a split in the last evaluation; None if not kept. Raises ValueError if the file is
        damaged."""
        path = self.path / EXAMPLES
        if not path.exists():
            return None
        table = read_arrow(path, MEASURED)
        try:
            return decoded(table, split, metric)
        except (ValueError, TypeError) as error:  # non-numeric values
            raise DamagedFileError(f"{path} is damaged ({error}): delete it to recompute it") from None

    @property
    def has_telemetry(self) -> bool:
        """Whether telemetry has been written."""
        return (self.path / TELEMETRY).exists()

    def telemetry(self) -> pa.Table:
        """The columns of `curves`, layer and site. Raises ValueError if the file is damaged."""
        return read_arrow(self.path / TELEMETRY, INSIDE)

    def timing(self) -> pa.Table:
        """Seconds: kind, runs, start_step, step, seconds, tokens; empty if not written yet."""
        path = self.path / "timing.parquet"
        return read_arrow(path, TIMING) if path.exists() else pa.table({})


@dataclass(frozen=True)
class CellDirectory:
    """The directory of one cell."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock file to hold while training."""
        return self.path / "lock"

    def describe(self, description: dict[str, Any], own_code: Mapping[str, Code] = NOTHING) -> None:
        """Write `cell.json`, the cell's description and the identity of user-defined code in it, unless it exists.

        Raises ValueError if the directory holds another cell: the same name, but, say, a different user-defined
        function.
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
        """All waves, finished or not, sorted by name; without copies (see `ignored`).

        Raises ValueError, naming both folders, if two waves contain the same run.
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
        """A sentence for every folder of runs that is a copy, as made by file managers and sync tools."""
        copies = [path for path in self._folders() if not WAVE.fullmatch(path.name)]
        return [f"{self.path.name}/{path.name} is ignored: its name is that of a copy" for path in copies]

    def _folders(self) -> list[Path]:
        return [file.parent for file in sorted(self.path.glob("runs-*/runs.json"))]

    def examples(self, split: str, metric: str) -> Examples | None:
        """Per-example values of a split in the last evaluation of the finished runs: see `lab.results.examples.joined`.
        Raises ValueError if a file is damaged."""
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
        """Delete leftovers of killed processes; the caller holds the lock."""
        sweep(self.path.rglob(LEFTOVERS))


def cell_directories(directory: Path) -> tuple[list[CellDirectory], list[str]]:
    """The cells of a results directory, and a sentence for every folder that is a copy of a cell: its name differs from
    that of the cell it describes."""
    cells, ignored = [], []
    for path in sorted(directory.glob("cells/*/cell.json")):
        folder = CellDirectory(path.parent)
        if (name := folder.description()["cell"]) == path.parent.name:
            cells.append(folder)
        else:
            ignored.append(f"cells/{path.parent.name} is ignored: it is a copy of the cell {name}")
    return cells, ignored


def changed_code(known: Mapping[str, Any], own_code: Mapping[str, Code], parts: Sequence[str] = PARTS) -> str | None:
    """How the record in `cell.json` of a cell's parts differs from their current code, in words; None if it does not.

    `own_code` contains the current identities of the user-defined parts.
    """
    then = dict(known.get("own_code", {}))
    if isinstance(known["model"].get("activation"), Mapping):
        then.setdefault("activation", None)
    for part in parts:
        name = known["activation"] if part == "activation" else known[part].get("type")
        if part in then and part not in own_code:
            return f"{part} '{name}' as a user-defined one, which is now built in"
        if part in own_code and then.get(part) is None:
            return f"{part} '{name}', without a record of its computation"
        if part in own_code and (difference := own_code[part].difference(then[part])) is not None:
            return f"a different {part} '{name}' ({difference})"
    return None


def first_difference(old: Any, new: Any, path: str = "") -> str | None:
    """The first difference between two JSON values, in words: `steps 100, not 200`; None if they are equal."""
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
