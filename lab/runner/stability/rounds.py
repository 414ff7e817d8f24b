"""Runs of a cell that are not known beforehand: they are trained round after round, by one compiled program."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lab.experiment.experiment import Cell
from lab.results.cells import CellDirectory, Wave
from lab.runner import dispatch, plan
from lab.training.devices import distributed
from lab.training.devices.placement import Placement
from lab.training.runs import Reuse
from lab.training.settings import Run
from lab.training.telemetry import Probe
from lab.training.train import Initialize, train


@dataclass(frozen=True)
class Rounds:
    """Training of a cell whose lock is held. Each round is a wave of its own, with as many runs as the others, so that
    `programs` need not compile again; what is there already is not trained again."""

    cell: Cell
    directory: CellDirectory
    placement: Placement
    programs: Reuse
    probe: Probe | None = None

    def train(self, runs: Sequence[Run], initialize: Initialize | None = None) -> None:
        """Train those of these runs that are missing. Raises what `lab.training.train.train` raises, and ValueError if
        some of them are there without the telemetry that is needed."""
        bare = [wave for wave in self._waves(runs) if self.probe and wave.has_metrics and not wave.has_telemetry]
        if bare:
            raise ValueError(f"{bare[0].path} was trained without telemetry: choose another --out, or delete it")
        train(
            self.cell.model,
            self.cell.task,
            self.cell.settings,
            runs,
            self.directory.path,
            dispatch.load(self.cell.task),
            self.placement,
            initialize=initialize,
            probe=self.probe,
            compiled=self.programs,
        )

    def curves(self, runs: Sequence[Run]) -> pd.DataFrame:
        """The curves of these runs: see `lab.results.cells.Wave.metrics`."""
        return _only(pd.concat([wave.metrics() for wave in self._waves(runs)]), runs)

    def telemetry(self, runs: Sequence[Run]) -> pd.DataFrame:
        """What happened inside the networks of these runs: see `lab.results.cells.Wave.telemetry`."""
        return _only(pd.concat([wave.telemetry().to_pandas() for wave in self._waves(runs)]), runs)

    def compiled(self) -> int:
        """Waves of this cell for which a program was compiled, in this call or before."""
        timing = [wave.timing().to_pandas() for wave in self.directory.waves() if wave.has_metrics]
        return sum(bool((table[table["kind"] == "compile"]["seconds"] > 0).any()) for table in timing)

    def _waves(self, runs: Sequence[Run]) -> list[Wave]:
        wanted = [run.identity for run in runs]
        return [wave for wave in self.directory.waves() if any(identity in wanted for identity in wave.runs)]


@contextmanager
def rounds_of(
    cell: Cell, results: Path, placement: Placement, programs: Reuse, probe: Probe | None = None
) -> Iterator[Rounds]:
    """Rounds of a cell in a folder of results; waits while another process holds its lock."""
    folder = plan.cell_directory(results, cell)
    data = dispatch.load(cell.task)
    with dispatch.held(folder, wait=True):
        distributed.on_process_zero(lambda: dispatch.prepare(folder, cell, data, False))
        yield Rounds(cell, folder, placement, programs, probe)


def _only(table: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The rows of these runs, which differ by seed and learning rate."""
    wanted = pd.MultiIndex.from_tuples([(run.identity["seed"], run.identity["learning_rate"]) for run in runs])
    return table[pd.MultiIndex.from_frame(table[["seed", "learning_rate"]]).isin(wanted)].reset_index(drop=True)
