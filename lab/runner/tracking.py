"""TensorBoard: the recorded curves as event files, one TensorBoard run for each training run."""

import hashlib
import struct
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pandas as pd

from lab.experiment.experiment import Cell
from lab.files.atomic import write_bytes
from lab.results import results
from lab.results.results import Results
from lab.training.train import Row

Watch = Callable[[Cell, int, list[Row]], None]

SECONDS = 10.0  # between two looks at the results while an experiment runs; TensorBoard looks every 30


def check() -> None:
    """Raises ValueError, saying what to install, if tensorboardX is missing."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise ValueError("tracking needs tensorboardX: pip install 'activation-ablations[track]'") from None


def tracked(watch: Watch, directory: Path) -> Watch:
    """`watch`, and beside it the event files of the experiment in `directory`, up to each cell's last checkpoint."""
    last = time.monotonic()

    def both(cell: Cell, step: int, rows: list[Row]) -> None:
        nonlocal last
        watch(cell, step, rows)
        if time.monotonic() - last > SECONDS and any(directory.glob("cells/*/*/metrics.parquet")):
            write(results.read(directory))
            last = time.monotonic()

    return both


def write(found: Results) -> Path:
    """Writes tensorboard/CELL/seed-0/events.out.tfevents.* in the results directory, and gives the folder tensorboard.

    Scalars are named split/metric; a run's folder also names its learning rate and other traced axes where they vary.
    The files are a function of what is recorded and replace the earlier ones, so that a run that was resumed has no
    point twice. A point's wall time is the experiment's beginning plus the seconds its cell had then been worked on.
    """
    folder = found.directory / "tensorboard"
    begin = datetime.fromisoformat(found.experiment["created"]).timestamp()
    timing = found.timing.reindex(columns=["cell", "step", "seconds"])  # a kill can leave curves without any timing
    values_in_cells = found.rows.groupby("cell").nunique().max()
    varied = [axis for axis in found.experiment["axes"] if values_in_cells.get(axis, 0) > 1]
    written = set()
    for (cell, *values), rows in found.rows.groupby(["cell", "seed", *varied]):
        run = "_".join(f"{name}-{value}" for name, value in zip(["seed", *varied], values, strict=True))
        content = _events(rows, begin, timing[timing["cell"] == cell])
        # Newer files sort last, as TensorBoard reads the files of a folder in the order of their names.
        digest = hashlib.sha256(content).hexdigest()[:8]
        path = folder / str(cell) / run / f"events.out.tfevents.{rows['step'].max():010d}.{digest}"
        if not path.exists():
            write_bytes(path, content)
        written.add(path)
    for stale in {*folder.rglob("events.out.tfevents.*")} - written:
        stale.unlink(missing_ok=True)  # another runner may have been faster
    return folder


def _events(rows: pd.DataFrame, begin: float, timing: pd.DataFrame) -> bytes:
    """An event file: its version, a start at step 0, which voids what an earlier file said, and a summary a step."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.summary_pb2 import Summary

    events = [
        Event(wall_time=begin, file_version="brain.Event:2"),
        Event(wall_time=begin, session_log=SessionLog(status=SessionLog.START)),
    ]
    for step, points in rows.groupby("step"):
        names = points["split"] + "/" + points["metric"]
        values = [Summary.Value(tag=tag, simple_value=x) for tag, x in zip(names, points["value"], strict=True)]
        seconds = timing.loc[timing["step"] <= step, "seconds"].sum()
        events.append(Event(wall_time=begin + seconds, step=step, summary=Summary(value=values)))
    return b"".join(_framed(event.SerializeToString()) for event in events)


def _framed(record: bytes) -> bytes:
    """A record of a TFRecord file: length, its checksum, content, its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(record))
    return b"".join(
        [length, struct.pack("<I", masked_crc32c(length)), record, struct.pack("<I", masked_crc32c(record))]
    )
