"""Planning an experiment: from a pilot, which design finds an effect with the highest probability in a given time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lab.comparison.noise import Setting, measure
from lab.comparison.time.run_time import RunTime, of_cell
from lab.experiment.duration import Duration
from lab.experiment.experiment import Experiment, Tuning, grid, tuning_of
from lab.results.directions import split_metric
from lab.results.results import Results
from lab.runner import dispatch
from lab.statistics import design
from lab.statistics.design import ASSURANCE, Cost, Design
from lab.tasks.task import final_batches
from lab.training.evaluation import Batches
from lab.training.settings import EVALUATED, TRAINING_PASSES

PILOT_SEEDS = 5
MOST = 16  # times as many examples as the pilot evaluated: no data set is looked through for more
WORTHWHILE = 0.8  # of power


@dataclass(frozen=True)
class Option:
    """What may be chosen beside seeds and examples: the values of the axes that the pilot varies and the experiment
    does not, such as its number of steps or its width."""

    axes: dict[str, Any]
    settings: tuple[Setting, ...]
    level: float
    """Of one arm's test: Holm's first and strictest."""
    cost: Cost
    times: dict[str, RunTime]
    examples: tuple[int, ...]
    steps: int
    batch_size: int


@dataclass(frozen=True)
class Plan:
    """The designs that fit into a time, the best first of all as `recommended`; None where none fits."""

    experiment: Experiment
    pilot: Results
    budget: Duration
    effect: float
    options: tuple[Option, ...]
    designs: tuple[tuple[Option, Design], ...]
    recommended: tuple[Option, Design] | None
    seconds_needed: float | None
    """The least time in which a design has a power of `WORTHWHILE`."""
    notes: tuple[str, ...]

    @property
    def command(self) -> str | None:
        """What runs the recommended design."""
        if self.recommended is None:
            return None
        option, found = self.recommended
        definition = self.experiment.definition
        own = [
            f"--{part}.{name} {value}".replace("_", "-")
            for name, value in option.axes.items()
            for part in ("settings", "model", "task", "hyperparameters")
            if name in definition[part]
        ]
        words = ["ablations run", self.experiment.name, "--seeds", _words(_seeds(self.experiment, found.seeds)), *own]
        return " ".join([*words, "--settings.final-evaluation", f"{final_evaluation(option, found.examples):.3g}"])

    @property
    def sentence(self) -> str:
        """The recommendation."""
        unit = f"{self.effect:g} of the {self.experiment.metric}"
        if self.recommended is None:
            return f"No design of 2 seeds fits into {self.budget}: give a larger --budget or fewer activations."
        option, found = self.recommended
        where = "".join(f" at {name} {value}" for name, value in option.axes.items())
        more = "" if found.power >= WORTHWHILE else self._more
        return (
            f"Train {found.seeds} seeds{where} and evaluate {found.examples} examples at the end: in "
            f"{Duration(found.seconds)} this finds a difference of {unit} with probability {found.power:.2f} "
            f"{self._spread}(at least {found.assured:.2f} with probability {ASSURANCE:g}){more}."
        )

    @property
    def _spread(self) -> str:
        """The range over arms, where there are several."""
        assert self.recommended is not None
        powers = self.recommended[1].powers
        return f"on average over arms, {min(powers):.2f} to {max(powers):.2f} " if len(powers) > 1 else ""

    @property
    def _more(self) -> str:
        needed = self.seconds_needed
        time = f"takes about {Duration(needed)}" if needed else f"takes more than {design.MAX_SEEDS} seeds"
        return f"; a probability of {WORTHWHILE:g} {time}"

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "experiment": self.experiment.name,
            "metric": self.experiment.metric,
            "split": self.experiment.split,
            "budget_seconds": float(self.budget),
            "effect": self.effect,
            "assurance": ASSURANCE,
            "pilot": {
                "directory": str(self.pilot.directory),
                "seconds": float(self.pilot.timing["seconds"].sum()),
                "device": self.pilot.cells[0]["environment"].get("device"),
                "processor": self.pilot.cells[0]["environment"].get("processor"),
            },
            "options": [
                {
                    "axes": option.axes,
                    "level": option.level,
                    "noise": [setting.to_dict() for setting in option.settings],
                    "cost": {
                        "cells": {cell: asdict(time) for cell, time in option.times.items()},
                        **asdict(option.cost),
                    },
                }
                for option in self.options
            ],
            "designs": [_as_dict(option, found) for option, found in self.designs],
            "recommended": None if self.recommended is None else _as_dict(*self.recommended),
            "seconds_needed": self.seconds_needed,
            "command": self.command,
            "sentence": self.sentence,
            "notes": list(self.notes),
        }


def plan(
    experiment: Experiment, budget: Duration, effect: float, pilot: Results, load: Callable[[Any], Any] = dispatch.load
) -> Plan:
    """The plan of an experiment by the results of a pilot, which may vary further axes.

    Raises ValueError unless the effect is positive; where the pilot has another task, model or settings or lacks an arm
    or the baseline; and what `lab.comparison.noise.measure` raises.
    """
    if not 0 < effect < math.inf:
        raise ValueError(f"--effect is {effect:g}: it must be a positive difference of the {experiment.metric}")
    _check_pilot(experiment, pilot)
    options = tuple(_options(experiment, pilot, load))
    found = [
        (option, one)
        for option in options
        for one in design.designs(_arms(option), option.cost, option.examples, budget, effect, option.level)
    ]
    chosen = design.best([one for _, one in found])
    needed = [
        design.seconds_needed(_arms(option), option.cost, option.examples, effect, option.level, WORTHWHILE)
        for option in options
    ]
    return Plan(
        experiment,
        pilot,
        budget,
        effect,
        options,
        tuple(found),
        next(((option, one) for option, one in found if one is chosen), None),
        min((seconds for seconds in needed if seconds is not None), default=None),
        tuple(_notes(experiment, options)),
    )


def pilot_of(experiment: Experiment) -> Experiment:
    """The experiment's own arms at its own rate, on a few seeds that are neither reported nor tuned on."""
    used = {*experiment.seeds, *experiment.tuning.seeds}
    seeds = [seed for seed in range(2000, 2000 + PILOT_SEEDS + len(used)) if seed not in used][:PILOT_SEEDS]
    rates = (experiment.hyperparameters.learning_rate,)
    return replace(experiment, seeds=tuple(seeds), learning_rates=rates, tuning=Tuning())


def final_evaluation(option: Option, examples: int) -> float:
    """The value of `settings.final_evaluation` that evaluates this number of examples at the last step."""
    return (examples + 0.5) * len(EVALUATED) / (TRAINING_PASSES * option.steps * option.batch_size)


def _options(experiment: Experiment, pilot: Results, load: Callable[[Any], Any]) -> Iterator[Option]:
    """One for each value of the axes that the pilot varies and the experiment does not."""
    own = set(experiment.axis_names)
    asked = {cell.activation.name for cell in grid(experiment)}
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in measure(pilot):
        if not (arms := tuple(arm for arm in setting.arms if arm.activation in asked)):
            continue
        further = tuple((name, value) for name, value in setting.axes.items() if name not in own)
        groups.setdefault(further, []).append(replace(setting, arms=arms))
    for axes, settings in groups.items():
        yield _option(experiment, pilot, dict(axes), tuple(settings), load)


def _option(
    experiment: Experiment,
    pilot: Results,
    axes: dict[str, Any],
    settings: tuple[Setting, ...],
    load: Callable[[Any], Any],
) -> Option:
    cells = list(dict.fromkeys(cell for one in settings for cell in (one.cell, *(arm.cell for arm in one.arms))))
    times = {}
    for cell in cells:
        kept = pilot.examples(cell, experiment.split, pilot.experiment["metric"])
        assert kept is not None  # the noise was measured on them
        times[cell] = of_cell(pilot, cell, kept)
    made = {cell["cell"]: cell["settings"] for cell in pilot.cells}[cells[0]]
    arms = [arm for setting in settings for arm in setting.arms]
    measured = arms[0].noise.examples
    run, example = (sum(getattr(time, part) for time in times.values()) for part in ("run", "example"))
    compile_seconds = sum(time.compile for time in times.values())
    once = compile_seconds
    if experiment.tuning_rates:
        points = len(grid(tuning_of(experiment))[0].runs)
        once += compile_seconds + points * (run + measured * example)
    return Option(
        axes=axes,
        settings=settings,
        level=1 - (1 - experiment.level) / len(arms),
        cost=Cost(once, run, example),
        times=times,
        examples=_numbers(experiment, measured, load),
        steps=made["steps"],
        batch_size=made["batch_size"],
    )


def _numbers(experiment: Experiment, measured: int, load: Callable[[Any], Any]) -> tuple[int, ...]:
    """Numbers of examples that may be evaluated at the last step: those of the curve, twice as many and so on, as many
    as there are, and as many as the pilot had."""
    cell = grid(experiment)[0]
    arrays, size = load(cell.task).arrays[experiment.split], cell.settings.batch_size

    def count(examples: int) -> int:
        return Batches.of(final_batches(cell.task, arrays, size, examples)).document.size

    fewest, most = count(0), count(MOST * measured)
    doubled = [fewest * 2**power for power in range(64) if fewest * 2**power < most]
    return tuple(sorted({fewest, *doubled, measured, most}))


def _check_pilot(experiment: Experiment, pilot: Results) -> None:
    """Raises ValueError where what the pilot says is of another experiment. How much it evaluated at the end, and what
    either varies, may differ."""
    made, now = pilot.experiment.get("definition", {}), experiment.definition
    for part, fields in now.items():
        for name, value in fields.items() if isinstance(fields, dict) else ():
            before = made.get(part, {}).get(name, value)
            if before != value and name not in ("final_evaluation", "evaluation_windows"):
                raise ValueError(
                    f"--pilot {pilot.directory} has {part}.{name} {before}, but {experiment.name} has {value}: give "
                    f"results of the same task, model and settings"
                )
    asked = {"baseline": experiment.reference, "metric": split_metric(experiment.metric)[0], "split": experiment.split}
    for name, value in asked.items():
        if pilot.experiment[name] != value:
            raise ValueError(
                f"--pilot {pilot.directory} has {name} {pilot.experiment[name]}, but {experiment.name} has {value}"
            )
    lacking = {cell.activation.name for cell in grid(experiment)} - set(pilot.rows["activation"])
    if lacking:
        raise ValueError(
            f"--pilot {pilot.directory} has no run of {', '.join(sorted(lacking))}: leave it out, or train it"
        )


def _notes(experiment: Experiment, options: Sequence[Option]) -> Iterator[str]:
    """What the pilot does not tell."""
    varied = set().union(*(option.axes for option in options))
    words = {"steps": "steps", "d_model": "widths"}
    unknown = [word for name, word in words.items() if name not in varied]
    if unknown:
        yield (
            f"The pilot has one value of {' and '.join(unknown)}: how noise and effect change with them is not known, "
            f"and no design varies them (a pilot with --axis settings.steps or --axis model.d_model would)."
        )
    if experiment.tuning_rates:
        yield "Arms are tuned: that the choice of the rate is uncertain too is not part of the power."
    pairs = min(arm.noise.pairs for option in options for setting in option.settings for arm in setting.arms)
    yield f"The noise is estimated from {pairs} pairs: the power is a mean over what it may be."


def _arms(option: Option) -> list[Any]:
    return [arm.noise for setting in option.settings for arm in setting.arms]


def _seeds(experiment: Experiment, number: int) -> tuple[int, ...]:
    """This number of seeds, excluding those of the tuning and the pilot."""
    others = {*experiment.tuning.seeds, *pilot_of(experiment).seeds}
    return tuple(seed for seed in range(number + len(others)) if seed not in others)[:number]


def _words(seeds: Sequence[int]) -> str:
    """Seeds as a shell reads them."""
    if len(seeds) > 12 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"$(seq {seeds[0]} {seeds[-1]})"
    return " ".join(map(str, seeds))


def _as_dict(option: Option, found: Design) -> dict[str, Any]:
    labels = [arm.label for setting in option.settings for arm in setting.arms]
    powers = dict(zip(labels, found.powers, strict=True))
    return {
        **option.axes,
        **asdict(found),
        "powers": powers,
        "final_evaluation": final_evaluation(option, found.examples),
    }
