"""The trained networks in a folder, ours or Hugging Face's, opened; and taken as the start of other runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.canonical import restored
from experiments.experiment import Cell
from experiments.start import Start, begun, start_at
from models import pretrained
from records.cells import CellDirectory
from training.settings import Hyperparameters, Run, Settings
from training.train import Begin, Dataset
from training.trained import networks, shapes

Load = Callable[[Any], Dataset]  # the examples of a task


@dataclass(frozen=True)
class Source:
    """The networks of one model in a folder: `parameters` by seed; the only one of a Hugging Face folder has None.

    `task`, `settings` and `hyperparameters` are what ours were trained on and with.
    """

    model: Any
    parameters: Mapping[int | None, dict[str, Any]]
    task: Any = None
    settings: Settings | None = None
    hyperparameters: Hyperparameters | None = None


@lru_cache(maxsize=2)  # the arms of an experiment begin with one
def opened(directory: Path, load: Load) -> Source:
    """The networks of a cell's folder at their last step, or that of a Hugging Face folder.

    Raises FileNotFoundError and ValueError, in one sentence, for what is missing, damaged or not known, and for a cell
    that has several networks of one seed.
    """
    if not (directory / "cell.json").exists():
        model, params = pretrained.load(directory)
        return Source(model, {None: params})
    made = CellDirectory(directory).description()
    task, model, settings = (restored(made[part], ignore=("name",)) for part in ("task", "model", "settings"))
    runs = [Run.of(identity) for wave in CellDirectory(directory).waves() if wave.done for identity in wave.runs]
    seeds = [run.seed for run in runs]
    if not runs:
        raise ValueError(f"{directory} holds no trained network: run its experiment to the end first")
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(
            f"{directory} has several networks of seed {twice[0]}: runs that differ by the seed alone are needed"
        )
    found = networks(model, task, settings, runs, directory, load(task))
    parameters: dict[int | None, Any] = {run.seed: variables["params"] for run, variables in found}
    return Source(model, parameters, task, settings, runs[0].hyperparameters)


def beginning(cell: Cell, start: Start, directory: Path, load: Load) -> Begin:
    """What gives the runs of a cell the parameters that they begin with; `directory` is that of the results.

    Raises ValueError, before anything is compiled, where the folder holds other weights than the start names, a run's
    seed has no network there, or the network does not fit the cell's model.
    """
    folder = (directory / start.directory).resolve()
    if (found := start_at(folder).weights) != start.weights:
        raise ValueError(f"{folder} holds the network {found}, not {start.weights}, that the experiment begins with")
    source = opened(folder, load)
    common = source.parameters.get(None)
    if common is None and (lacking := sorted({run.seed for run in cell.runs} - set(source.parameters))):
        raise ValueError(
            f"{folder} has no network of seed {lacking[0]}: it has {' '.join(map(str, source.parameters))}"
        )

    def begin(run: Run, drawn: Any) -> Any:
        params = common if common is not None else source.parameters[run.seed]
        return begun(start, source.model, params, cell.model, drawn)

    begin(cell.runs[0], shapes(cell.model, cell.task, cell.settings, load(cell.task)).parameters)
    return begin
