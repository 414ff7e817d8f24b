"""Experiment and its grid of cells: what is asked, as a frozen value with a canonical form."""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from lab.comparison.question import Hold, Over
from lab.data.dataset import SPLITS, Dataset
from lab.experiment.cell import INIT_FROM, Cell
from lab.experiment.fields import field_types, with_fields
from lab.experiment.init_from import InitFrom
from lab.experiment.serialization import canonical, code_of, ours, restored
from lab.files.choices import check_choice, nearest
from lab.results.directions import checked, declared, split_metric
from lab.tasks.task import check_splits, check_task
from lab.training.settings import Hyperparameters, Run, Settings
from models.activations import Activation, activation
from models.model import check_model

Named = str | Activation  # an activation, or the name of one
Axis = tuple[str, tuple[Any, ...]]  # the dotted path of a field, and its values
OWN_FIELD = {"model.activation": "activations", "hyperparameters.learning_rate": "learning_rates"}  # never in axes

FACTORS = (0.5, 1.0, 2.0, 4.0)
"""Default tuning grid, in multiples of the experiment's own learning rate."""


@dataclass(frozen=True)
class Tuning:
    """The grid that every arm's hyperparameters are chosen from, and the seeds they are chosen on.

    These seeds are not the reported ones: a minimum over noise is lower than what it promises.
    """

    learning_rates: tuple[float, ...] = ()
    """Peak learning rates to choose from. Default: 0.5, 1, 2 and 4 times the experiment's own; an experiment with
    `learning_rates`, an axis of hyperparameters or rates for single arms is compared at those, untuned."""
    weight_decays: tuple[float, ...] = ()
    """Weight decays to choose from; that of hyperparameters unless given."""
    seeds: tuple[int, ...] = (1000, 1001)
    """Seeds of the runs that choose."""


@dataclass(frozen=True)
class ArmOverride:
    """Fields that are set for one arm alone, such as its tuned learning rate or its number of steps."""

    arm: tuple[tuple[str, Any], ...]
    """The activation and static axes that identify the arm, by the names of their columns."""
    fields: tuple[tuple[str, Any], ...]
    """Dotted path and value of each field: of hyperparameters, of settings, or init_from."""


@dataclass(frozen=True)
class Experiment:
    """A question, and the grid of training runs that answers it.

    Every value of `activations` and of the static `axes` (paths such as "model.norm", "task.context") is a cell; every
    seed, learning rate and value of the traced axes ("hyperparameters.weight_decay") is a run inside each cell.
    """

    name: str
    """Name of the experiment and of its folder of results."""
    question: str
    """What it asks, one sentence."""
    task: Any
    """What is learned: a `lab.tasks.task.Task`."""
    model: Any
    """What learns it: a `models.model.Model`, a Flax module whose field `activation` the experiment varies."""
    activations: tuple[Named, ...]
    """Activations to compare."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds; the same seed means the same initial weights and batches for every activation."""
    learning_rates: tuple[float, ...] = ()
    """Peak learning rates to compare at; that of hyperparameters unless given."""
    axes: tuple[Axis, ...] = ()
    """Further fields to vary."""
    tuning: Tuning = field(default_factory=Tuning)
    """How the hyperparameters of every arm are chosen before the seeds are trained."""
    overrides: tuple[ArmOverride, ...] = ()
    """Fields that are set for single arms."""
    init_from: InitFrom | None = None
    """The trained network that runs start from; unless given, weights are drawn from the seed."""
    baseline: str = "gelu"
    """The activation that the others are compared with."""
    metric: str = "loss"
    """What is compared, at the last step; "auc:max" says which way is better where the task does not."""
    split: str = "validation"
    """On which split."""
    published: tuple[tuple[str, float], ...] = ()
    """Published values of that metric and split: source and value; drawn beside the curves."""
    level: float = 0.95
    """Confidence level of the intervals and family-wise level of the verdicts."""
    margin: float | None = None
    """The largest difference of the metric that does not matter; given one, arms within it are called equivalent."""
    intervals: Hold = "each"
    """Whether intervals hold for each arm, for all at once, or for those selected: better, worse or equivalent."""
    over: Over = "seeds"
    """What verdicts are about: other seeds on the same data, or with seeds_and_text other data like these as well."""
    target: float | None = None
    """Target value of the metric; the time at which each arm reaches it is reported; default: the baseline's values."""
    telemetry: bool = False
    """Look inside the networks at every evaluation: telemetry.parquet, rows per layer; see docs/how-to/telemetry.md."""
    settings: Settings = field(default_factory=Settings)
    """How it is trained: the static part."""
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    """How it is trained: the traced part."""

    def check(self, load: Callable[[Any], Dataset] | None = None) -> None:
        """Raises ValueError, in one sentence, if the grid or one of its fields is invalid.

        Given `load`, which reads the data of a task, also where the data does not fit or the metric is not measured.
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            raise ValueError(f"name is '{self.name}': it names a folder, so use letters, digits, dots and dashes")
        check_task(self.task)
        check_model(self.model)
        names = [activation(value).name for value in self.activations]
        _check_values("activations", names)
        _check_values("seeds", list(self.seeds))
        _check_values("learning_rates", list(self.learning_rates), empty=True)
        if not all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in self.seeds):
            raise ValueError(f"seeds are {_list(self.seeds)}: each must be a whole number in 0 to 2**32 - 1")
        _check_axes(self)
        _check_tuning(self)
        check_choice("baseline", self.reference, names)
        check_choice("split", self.split, SPLITS)
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}: it must lie between 0 and 1")
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise ValueError(f"margin is {self.margin}: it must be a positive difference of the {self.metric}")
        check_choice("intervals", self.intervals, get_args(Hold))
        check_choice("over", self.over, get_args(Over))
        metric, direction = split_metric(self.metric)
        cells = grid(self)
        for cell in cells:
            cell.check()
        if load is None:
            return
        for task in dict.fromkeys(cell.task for cell in cells):
            alike, dataset = [cell for cell in cells if cell.task == task], load(task)
            check_splits(task, dataset)
            task.check(dataset)
            for cell in alike:
                if not ours((cell.task, cell.model)):
                    cell.check_code(dataset)
            check_choice("metric", metric, alike[0].metrics(dataset, self.split))
            known = checked(metric, direction, declared(task))
            if self.tuning_rates and metric not in known:
                raise ValueError(
                    f"metric is '{metric}', of which nobody has declared whether more or less is better, so that no "
                    f"learning rate can be chosen: name it in the task's directions, or ask for {metric}:max or :min"
                )

    @property
    def reference(self) -> str:
        """Name of the baseline as the table of results has it: `silu`, where baseline is its other name `swish`."""
        try:
            return activation(self.baseline).name
        except ValueError:  # one of the user's own, or none: `check` says so
            return self.baseline

    @property
    def tuning_rates(self) -> tuple[float, ...]:
        """The rates that each arm's own is chosen from; none if the experiment compares arms at given rates."""
        if self.tuning.learning_rates:
            return self.tuning.learning_rates
        traced = any(path.startswith("hyperparameters.") for path, _ in self.axes)
        own = any(path == "hyperparameters.learning_rate" for arm in self.overrides for path, _ in arm.fields)
        metric, direction = split_metric(self.metric)
        if self.learning_rates or traced or own or not (direction or metric in declared(self.task)):
            return ()
        return tuple(factor * self.hyperparameters.learning_rate for factor in FACTORS)

    @property
    def axis_names(self) -> list[str]:
        """Names of what varies, as the columns of the table of results have them."""
        rates = ["learning_rate"] if len(self.learning_rates) > 1 else []
        return ["activation", *(_leaf(path) for path, _ in self.axes), *rates]

    @property
    def definition(self) -> dict[str, Any]:
        """What is the same in all runs, as JSON: two experiments that differ here cannot share a folder of results."""
        varied = {path for path, _ in self.axes} | set(OWN_FIELD)
        whole = {part: canonical(getattr(self, part)) for part in ("task", "model", "settings", "hyperparameters")}
        fixed = {
            part: {name: value for name, value in fields.items() if f"{part}.{name}" not in varied}
            for part, fields in whole.items()
        }
        return fixed if self.init_from is None else {**fixed, INIT_FROM: canonical(self.init_from)}


def grid(experiment: Experiment) -> list[Cell]:
    """The cells of an experiment, in the order of its axes; runs with the seed fastest."""
    static = [axis for axis in experiment.axes if not axis[0].startswith("hyperparameters.")]
    return [
        _cell(experiment, activation(value), dict(zip((path for path, _ in static), values, strict=True)))
        for value in experiment.activations
        for values in itertools.product(*(values for _, values in static))
    ]


def tuning_of(experiment: Experiment) -> Experiment:
    """The experiment whose runs choose the hyperparameters of every arm: the whole grid, on the seeds of the tuning."""
    tuning = experiment.tuning
    decays = (("hyperparameters.weight_decay", tuning.weight_decays),) if tuning.weight_decays else ()
    return replace(
        experiment,
        seeds=tuning.seeds,
        learning_rates=experiment.tuning_rates,
        axes=(*experiment.axes, *decays),
        tuning=Tuning(),
        telemetry=False,
    )


def with_overrides(experiment: Experiment, choices: Iterable[Mapping[str, Any]]) -> Experiment:
    """The experiment whose arms have fields of their own, given as JSON: `arm` and `fields`, by name."""
    code = code_of(experiment.task, experiment.model, experiment.activations)
    own = tuple(
        ArmOverride(
            tuple(choice["arm"].items()),
            tuple((path, restored(value, code)) for path, value in choice["fields"].items()),
        )
        for choice in choices
    )
    return replace(experiment, overrides=(*experiment.overrides, *own))


def _cell(experiment: Experiment, arm: Activation, values: dict[str, Any]) -> Cell:
    axes = tuple((_leaf(path), value) for path, value in values.items())
    known = {"activation": arm.name, **{name: canonical(value) for name, value in axes}}
    own = {
        path: value
        for choice in experiment.overrides
        if all(known.get(name) == canonical(wanted) for name, wanted in choice.arm)
        for path, value in choice.fields
    }
    varied = with_fields(experiment, {"model.activation": arm, **values, **own})
    return Cell(varied.task, varied.model, varied.settings, axes, _runs(varied), varied.init_from)


def _runs(experiment: Experiment) -> tuple[Run, ...]:
    traced = {path.partition(".")[2]: values for path, values in experiment.axes if path.startswith("hyperparameters.")}
    if experiment.learning_rates:
        traced["learning_rate"] = experiment.learning_rates
    return tuple(
        Run(seed, replace(experiment.hyperparameters, **dict(zip(traced, values, strict=True))))
        for values in itertools.product(*traced.values())
        for seed in experiment.seeds
    )


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _check_values(name: str, values: list[Any], empty: bool = False) -> None:
    if not values and not empty:
        raise ValueError(f"{name} is empty: the grid needs at least one value")
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{name} repeats {', '.join(repeated)}: each value may be given once")


def _check_tuning(experiment: Experiment) -> None:
    tuning = experiment.tuning
    if not experiment.tuning_rates:
        if tuning.weight_decays:
            raise ValueError("tuning.weight_decays are given, but learning rates are compared and not tuned: give one")
        return
    if experiment.learning_rates:
        raise ValueError("learning_rates and tuning.learning_rates are both given: compare at all, or at the best")
    _check_values("tuning.learning_rates", list(experiment.tuning_rates))
    _check_values("tuning.seeds", list(tuning.seeds))
    if both := sorted(set(tuning.seeds) & set(experiment.seeds)):
        raise ValueError(
            f"tuning.seeds has {_list(both)}, which are reported too: what is chosen on a seed flatters it"
        )
    if traced := [path for path, _ in experiment.axes if path.startswith("hyperparameters.")]:
        raise ValueError(
            f"tuning.learning_rates are given and {traced[0]} is an axis: compare at all of its values at one rate, or "
            "tune at one value"
        )
    tuning_of(experiment).check()


def _check_axes(experiment: Experiment) -> None:
    parts = ("task.", "model.", "settings.", "hyperparameters.")
    fields = [path for path in field_types(experiment) if path.startswith(parts)]
    for path, values in experiment.axes:
        if path in OWN_FIELD:
            raise ValueError(f"axis {path} has a field of its own: use {OWN_FIELD[path]}")
        if path not in fields:
            hint = nearest(path, fields) or ": allowed fields are those of task, model, settings, hyperparameters"
            raise ValueError(f"axis {path} is no field of the experiment{hint}")
        _check_values(f"axis {path}", list(values))
    paths = [path for path, _ in experiment.axes]
    _check_values("axes", paths, empty=True)
    for path, other in itertools.combinations(paths, 2):
        if _leaf(path) == _leaf(other):
            raise ValueError(f"axes {path} and {other} would both be the column '{_leaf(path)}': vary one of them")


def _list(values: Any) -> str:
    return " ".join(str(value) for value in values)
