"""The trained networks in a folder, ours or Hugging Face's, opened; and taken as initial parameters of other runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lab.experiment.experiment import Cell, Experiment, grid
from lab.experiment.init_from import InitFrom, initial_parameters, locate
from lab.experiment.own_code import own_code
from lab.experiment.serialization import Code, code_of, restored
from lab.results.cells import CellDirectory, cell_directories, changed_code, first_difference
from lab.tasks.task import completed
from lab.training.settings import Hyperparameters, Run, Settings
from lab.training.train import Dataset, Initialize
from lab.training.trained import networks, shapes
from models import pretrained
from models.model import with_activation

Load = Callable[[Any], Dataset]  # the examples of a task
ALONE = "runs that differ by the seed alone are needed"


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
    collections: tuple[str, ...] = ()
    """Variables beside the parameters, such as batch statistics."""


def opened(directory: Path, load: Load, ignore: tuple[str, ...] = (), code: Code | None = None) -> Source:
    """The networks of a cell's folder at their last step, or that of a Hugging Face folder, of whose config the keys
    in `ignore` count as absent; `code` has the user's own types and activations of a cell.

    Raises FileNotFoundError and ValueError, in one sentence, for what is missing, damaged or not known, for code that
    is not given, and for a cell whose runs differ by more than the seed.
    """
    if not (directory / "cell.json").exists():
        model, params = pretrained.load(directory, ignore=ignore)
        return Source(model, {None: params})
    made = CellDirectory(directory).description()
    try:
        task, model, settings = (restored(made[part], code, ignore=("name",)) for part in ("task", "model", "settings"))
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from None
    task, model = completed(task), with_activation(model, model.activation)
    data = load(task)
    if difference := changed_code(made, own_code(model, task, settings.batch_size, data)):
        raise ValueError(f"{directory} was made with {difference}: rename the new one")
    runs = [Run.of(identity) for wave in CellDirectory(directory).waves() if wave.done for identity in wave.runs]
    seeds = [run.seed for run in runs]
    if not runs:
        raise ValueError(f"{directory} holds no trained network: run its experiment to the end first")
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(f"{directory} has several networks of seed {twice[0]}: {ALONE}")
    if other := next((run for run in runs if replace(run, seed=seeds[0]) != runs[0]), None):
        difference = first_difference(other.identity | {"seed": seeds[0]}, runs[0].identity)
        raise ValueError(
            f"{directory} has a network of seed {other.seed} with {difference} as seed {seeds[0]}: {ALONE}"
        )
    found = list(networks(model, task, settings, runs, directory, data))
    parameters: dict[int | None, Any] = {run.seed: variables["params"] for run, variables in found}
    collections = tuple(name for name in found[0][1] if name != "params")
    return Source(model, parameters, task, settings, runs[0].hyperparameters, collections)


def opened_cells(
    directory: Path, load: Load, ignore: tuple[str, ...] = (), code: Code | None = None
) -> list[tuple[dict[str, Any], Path, Source]]:
    """The arm (its activation and axes, empty for a single folder), folder and networks of every cell of results, or of
    the one cell or Hugging Face folder. Raises ValueError as `opened` does, and for two cells of one arm."""
    cells = [cell.path for cell in cell_directories(directory)[0]]  # without copies, whose networks would count twice
    if not cells:
        locate(directory, ignore=ignore)
    found: list[tuple[dict[str, Any], Path, Source]] = []
    for folder in cells or [directory]:
        source = opened(folder.resolve(), load, ignore, code)
        arm = _arm(folder) if cells else {}
        if arm in [other for other, *_ in found]:
            words = ", ".join(map(str, arm.values()))
            raise ValueError(f"{directory} has several cells of the arm {words}: give the folder of one of them")
        found.append((arm, folder, source))
    return found


def _arm(folder: Path) -> dict[str, Any]:
    """The activation of a cell, and the axes of its experiment."""
    made = CellDirectory(folder).description()
    return {"activation": made["activation"], **made["axes"]}


def users_code(experiment: Experiment | None) -> Code:
    """The user's own types and activations in an experiment, as `opened` takes them."""
    return {} if experiment is None else code_of(*((cell.task, cell.model) for cell in grid(experiment)))


def sound(source: Source, directory: Path) -> tuple[Source, dict[str, str]]:
    """The networks that can be compared, and why others cannot. Raises ValueError if none can."""
    finite = {seed: params for seed, params in source.parameters.items() if _finite(params)}
    if not finite:
        raise ValueError(f"{directory} holds no network whose parameters are all finite: they diverged in training")
    diverged = {f"seed {seed}": "its network diverged in training" for seed in source.parameters if seed not in finite}
    return replace(source, parameters=finite), diverged


def _finite(params: dict[str, Any]) -> bool:
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))


def initializers(cells: Sequence[Cell], directory: Path, load: Load, code: Code | None = None) -> dict[str, Initialize]:
    """By the name of each cell that has a start what gives its runs the parameters that they begin with; `directory` is
    that of the results, `code` the user's own types and activations in the folders. Every folder is opened once.

    Raises what `opened` raises and ValueError, before anything is compiled, where a folder holds other weights than the
    start names, a run's seed has no network there, or the network does not fit the cell's model.
    """
    sources: dict[str, Source] = {}
    found = {}
    for cell in cells:
        if cell.init_from is None:
            continue
        folder = (directory / cell.init_from.directory).resolve()
        if (there := locate(folder).weights) != cell.init_from.weights:
            raise ValueError(
                f"{folder} holds the network {there}, not {cell.init_from.weights}, which the run is to start from"
            )
        if str(folder) not in sources:
            sources[str(folder)] = opened(folder, load, cell.init_from.ignore, code)
        found[cell.name] = _initializer(cell, cell.init_from, sources[str(folder)], folder)
        drawn = shapes(cell.model, cell.task, cell.settings, load(cell.task)).parameters
        found[cell.name](cell.runs[0], drawn)  # refused now if it does not fit
    return found


def _initializer(cell: Cell, start: InitFrom, source: Source, folder: Path) -> Initialize:
    common = source.parameters.get(None)
    if common is None and (lacking := sorted({run.seed for run in cell.runs} - set(source.parameters))):
        known = " ".join(map(str, source.parameters))
        raise ValueError(f"{folder} has no network of seed {lacking[0]}: it has {known}")

    def begin(run: Run, drawn: Any) -> Any:
        params = common if common is not None else source.parameters[run.seed]
        return initial_parameters(start, source.model, params, cell.model, drawn)

    return begin
