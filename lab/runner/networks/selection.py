"""Which arm to take: the loss, int8 loss, latency, memory and stable rate of the trained networks in folders."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from lab.comparison.comparison import compare
from lab.comparison.networks.selection import LIMITS, Candidate, Selection, select
from lab.comparison.outcomes import axis_columns, ends
from lab.experiment.experiment import Experiment
from lab.files.atomic import write_json
from lab.files.choices import check_choice
from lab.probes import latency
from lab.report.networks import selection as report
from lab.report.studies import study_page
from lab.results import results
from lab.results.cells import first_difference
from lab.results.directions import direction_of
from lab.results.environment import environment
from lab.results.excerpts import Excerpt, json_rows
from lab.results.results import Results
from lab.runner import plan
from lab.runner.networks import quantization
from lab.runner.networks.sources import Load, Source, opened_cells, sound, users_code
from lab.surgery.quantization import RECIPES

FILE = "choice.json"


@dataclass(frozen=True)
class Select:
    """What is asked of the arms in folders of results."""

    directories: tuple[Path, ...]
    """Results of one task; their arms differ."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Bounds of measures: `lab.comparison.networks.selection.LIMITS`."""
    objectives: tuple[str, ...] = ()
    """Measures of the Pareto front; those of `lab.comparison.networks.selection.OBJECTIVES` unless given."""
    recipe: str = "w8a8"
    """The quantization whose loss counts: one of `lab.surgery.quantization.RECIPES`."""
    batch: int = 32
    """Examples of the larger batch that is timed."""
    experiment: Experiment | None = None
    """The experiment of the results; needed where its model, task or activation is the user's own."""
    stable_rates: pd.DataFrame | None = None
    """Rates found by bisection, activation, axes and rate: those of `lab.runner.stability.stable_rates`, `of_arms`.
    Unless given, the largest rate of the results, in tuning or after, at which every run trained."""


class Arm(NamedTuple):
    """The trained networks of one cell, and the results that they are a part of."""

    fields: dict[str, Any]
    source: Source
    losses: pd.Series
    """By seed; lower is better."""
    stable_rate: float
    largest_rate: float
    """The largest learning rate that was tried."""

    @property
    def label(self) -> str:
        """The values of the fields."""
        return _words(self.fields)


def choose(asked: Select, out: Path | None, load: Load, command: str) -> dict[str, Any]:
    """Measures all arms, and writes OUT/index.html and OUT/choice.json, whose value it gives.

    `out` is DIRECTORY/choice of the first directory unless given. Raises ValueError, before anything is compiled, for
    bounds and names that are not known and results that cannot be compared, and what
    `lab.runner.networks.sources.opened` and `lab.comparison.networks.selection.select` raise.
    """
    _check(asked)
    folder = out or asked.directories[0] / "choice"
    plan.check_folder(folder, (FILE,))
    begin, left_out = time.perf_counter(), dict[str, str]()
    folders = [(directory, results.read(directory)) for directory in asked.directories]
    arms = _arms(asked, folders, load, left_out)
    values = [{"loss": one.losses.to_numpy(), "stable_rate": np.array([one.stable_rate])} for one in arms]
    if int8 := _int8(arms, load, asked.recipe, left_out):
        values = [{**known, "int8_loss": own} for known, own in zip(values, int8, strict=True)]
    values = [{**known, **own} for known, own in zip(values, _costs(arms, load, asked.batch), strict=True)]
    candidates = [Candidate(one.fields, own) for one, own in zip(arms, values, strict=True)]
    found = select(candidates, asked.limits, asked.objectives)
    at_least = [one.stable_rate >= one.largest_rate for one in arms]
    made = {"command": command, "seconds": round(time.perf_counter() - begin), "environments": [environment({}, {})]}
    doubts = list(dict.fromkeys(caution for _, read in folders for caution in _cautions(read)))
    return _write(asked, folder, found, at_least, len(arms[0].losses), made, left_out, doubts)


def _cautions(read: Results) -> tuple[str, ...]:
    """The reasons to doubt a folder's own comparison, such as rates that were not tuned."""
    try:
        return compare(read).cautions
    except ValueError:  # a single arm has no comparison
        return ("untuned: a folder with one arm has no comparison of its own",) if read.tuning is None else ()


def _check(asked: Select) -> None:
    check_choice("--recipe", asked.recipe, [name for name in RECIPES if name != "off"])
    if asked.batch < 1:
        raise ValueError(f"--batch is {asked.batch}: it must be at least 1 example")
    for name, bound in asked.limits.items():
        check_choice("limit", name, list(LIMITS))
        if not math.isfinite(bound):
            raise ValueError(f"the limit of {name} is {bound}: it must be a number")


def _arms(asked: Select, folders: Sequence[tuple[Path, Results]], load: Load, left_out: dict[str, str]) -> list[Arm]:
    """The arms of all folders, with the seeds that all have."""
    for other in folders[1:]:
        _check_same(folders[0], other)
    names = dict.fromkeys(["activation", *(name for _, read in folders for name in axis_names(read))])
    arms: list[Arm] = []
    for directory, read in folders:
        losses = _losses(read)
        for own, folder, source in opened_cells(directory, load, code=users_code(asked.experiment)):
            fields = {name: own[name] if name in own else _fixed(read, name) for name in names}
            if fields in [known.fields for known in arms]:
                raise ValueError(f"{directory} and another folder both have the arm {_words(fields)}: give one of them")
            try:
                networks, diverged = sound(source, folder)
            except ValueError as error:
                left_out[_words(fields)] = str(error)
                continue
            left_out |= {f"{_words(fields)}, {name}": why for name, why in diverged.items()}
            arms.append(Arm(fields, networks, losses[folder.name], *_rates(read, own, asked.stable_rates)))
    common = [seed for seed in arms[0].losses.index if all(seed in _seeds(one) for one in arms)] if arms else []
    if len(common) < 2:
        raise ValueError(f"the arms have {len(common)} seeds in common that trained: a choice needs at least 2")
    for one in arms:
        if lost := sorted(set(one.losses.index) - set(common)):
            left_out[f"{one.label}, seeds {' '.join(map(str, lost))}"] = "not trained in every arm, or diverged in one"
    return [one._replace(losses=one.losses.loc[common]) for one in arms]


def axis_names(read: Results) -> list[str]:
    """The static axes of a folder's cells."""
    return list(dict.fromkeys(name for cell in read.cells for name in cell["axes"]))


def _fixed(read: Results, name: str) -> Any:
    """The value of a field that does not vary in a folder, and does in another."""
    definition = read.experiment.get("definition", {})
    return next((part[name] for part in definition.values() if name in part), None)


def _check_same(first: tuple[Path, Results], other: tuple[Path, Results]) -> None:
    """Raises ValueError for results of another question, or whose task, model, settings or hyperparameters differ in a
    field that varies in neither."""
    before, now = ({name: one.experiment[name] for name in ("metric", "split")} for _, one in (first, other))
    definitions = [one.experiment.get("definition", {}) for _, one in (first, other)]
    for part in set(definitions[0]) & set(definitions[1]):
        shared = set(definitions[0][part]) & set(definitions[1][part])
        before |= {f"{part}.{name}": definitions[0][part][name] for name in sorted(shared)}
        now |= {f"{part}.{name}": definitions[1][part][name] for name in sorted(shared)}
    if difference := first_difference(before, now):
        raise ValueError(f"{other[0]} has {difference} as {first[0]}: such arms cannot be chosen among")


def _losses(read: Results) -> dict[str, pd.Series]:
    """By cell the metric of every seed at the last step, as a loss."""
    metric, split = read.experiment["metric"], read.experiment["split"]
    sign = -1.0 if direction_of(metric, read.experiment) == "max" else 1.0
    runs = ends(read.rows, metric, split, read.ends, axis_columns(read.rows))
    return {str(cell): sign * one.set_index("seed")["value"] for cell, one in runs.groupby("cell")}


def _seeds(one: Arm) -> set[int]:
    """The seeds with a network and a loss."""
    return set(one.losses.dropna().index) & {seed for seed in one.source.parameters if seed is not None}


def _rates(read: Results, fields: Mapping[str, Any], found: pd.DataFrame | None = None) -> tuple[float, float]:
    """The largest learning rate at which every run of an arm trained, and the largest tried, in tuning or after; or the
    rate that was found for it."""
    if found is not None:
        own = found[_of_arm(found, {name: value for name, value in fields.items() if name in found})]
        if len(own) != 1:
            raise ValueError(f"stable_rates has {len(own)} rows of the arm {_words(fields)}: it must have one")
        return float(own["rate"].iloc[0]), math.inf
    tables = [one.rows for one in (read, read.tuning) if one is not None]
    own = pd.concat([rows[_of_arm(rows, fields)] for rows in tables])
    rates = sorted(own["learning_rate"].unique())
    burst = set(own.loc[own["metric"] == "diverged", "learning_rate"])
    stable = [rate for rate in rates if rate not in burst]
    return (float(stable[-1]) if stable else 0.0), float(rates[-1])


def _of_arm(rows: pd.DataFrame, fields: Mapping[str, Any]) -> np.ndarray:
    """Which rows are of the arm."""
    same = [rows[name].isna() if value is None else rows[name] == value for name, value in fields.items()]
    return np.logical_and.reduce(same)


def _int8(arms: list[Arm], load: Load, recipe: str, left_out: dict[str, str]) -> list[np.ndarray]:
    """What quantization adds to the loss of every network on the test text, for each arm; none if it cannot be told."""
    found = []
    for one in arms:
        try:
            quantization.check_source(one.source, Path(_words(one.fields)))
        except ValueError as error:
            left_out["int8_loss"] = str(error)
            return []
        networks = {seed: one.source.parameters[seed] for seed in one.losses.index}
        rows = quantization.measured(
            one.source.model, networks, quantization.own_text(one.source, load), (recipe,), sites=()
        ).rows
        of_recipe = rows[rows["recipe"] == recipe].set_index("seed")["difference"]
        found.append(of_recipe.loc[one.losses.index].to_numpy())
    return found


def _costs(arms: list[Arm], load: Load, batch: int) -> list[dict[str, np.ndarray]]:
    """Latency in ms by round, memory in MB and parameters of every arm; all programs are timed side by side."""
    programs: list[dict[str, latency.Program]] = [_programs(one.source, load, batch) for one in arms]
    names = list(programs[0])
    timed = latency.seconds([own[name] for own in programs for name in names]) * 1e3
    of_arm = timed.reshape(len(arms), len(names), -1)
    return [
        {
            **dict(zip(names, seconds, strict=True)),
            "memory_mb": np.array([own["latency_batch_ms"].bytes / 1e6]),
            "parameters": np.array([float(_count(one.source))]),
        }
        for one, own, seconds in zip(arms, programs, of_arm, strict=True)
    ]


def _programs(source: Source, load: Load, batch: int) -> dict[str, latency.Program]:
    params = jax.tree.map(jnp.asarray, next(iter(source.parameters.values())))
    task, model, arrays = source.task, source.model, load(source.task).arrays["train"]

    def forward(params: Any, examples: Any) -> Any:
        return model.apply({"params": params}, *task.inputs(examples))

    def loss(params: Any, examples: Any) -> Any:
        return task.loss(forward(params, examples), examples)

    functions: dict[str, Callable[..., Any]] = {"latency": forward, "gradient": jax.grad(loss)}
    sizes = {"": 1, "_batch": batch}
    return {
        f"{name}{size}_ms": latency.program(function, params, task.batch(arrays, 0, 0, examples))
        for name, function in functions.items()
        for size, examples in sizes.items()
    }


def _count(source: Source) -> int:
    return sum(np.size(leaf) for leaf in jax.tree.leaves(next(iter(source.parameters.values()))))


def _words(fields: Mapping[str, Any]) -> str:
    return ", ".join(map(str, fields.values()))


def _write(
    asked: Select,
    folder: Path,
    found: Selection,
    at_least: list[bool],
    seeds: int,
    made: dict[str, Any],
    left_out: Mapping[str, str],
    cautions: Sequence[str],
) -> dict[str, Any]:
    """The page and the JSON file."""
    table = found.table.assign(stable_rate_at_least=at_least)
    question = "Which activation and norm should this network use, under the given limits?"
    sections = report.sections(found, table, seeds, asked.recipe, asked.batch, cautions)
    page = study_page.write(folder, "Choice", sections, {"choice": Excerpt(table, made)}, left_out, question)
    record = {
        "directories": [str(directory) for directory in asked.directories],
        "arms": json_rows(table),
        "limits": dict(found.limits),
        "objectives": list(found.objectives),
        "recipe": asked.recipe,
        "batch": asked.batch,
        "level": found.level,
        "seeds": seeds,
        "chosen": found.chosen,
        "probability_best": found.best,
        "may_be_as_good": list(found.also),
        "recommendation": found.sentence,
        "cautions": list(cautions),
        "left_out": dict(left_out),
        "page": str(page),
        "made": made,
    }
    write_json(folder / FILE, record)
    return record
