"""A study: a question that takes several experiments, trained networks perhaps, and a reading of both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.files.choices import check_choice
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.excerpts import Excerpt
from lab.results.results import Results


class Evaluate(Protocol):
    """What measures the trained networks of the study's experiments."""

    def __call__(self, experiment: Experiment, where: Callable[..., bool], function: Callable[..., Any]) -> Any:
        """`ablations.evaluate` of an experiment: a table, one network after another."""
        ...

    def cells(self, experiment: Experiment, function: Callable[..., Any]) -> dict[str, pd.DataFrame]:
        """Tables of all networks of a cell at once: see `lab.runner.networks.networks.evaluated_by_cell`."""
        ...

    def stable_rates(self, experiment: Experiment, search: Any) -> Any:
        """The largest stable learning rates of an experiment, which need not be one of the study's: see
        `lab.runner.stability.stable_rates.stable_rates`."""
        ...

    def restarts(self, experiment: Experiment, restart: Any) -> pd.DataFrame:
        """Losses after warm restarts of trained networks: see `lab.runner.stability.restarts.restarts`."""
        ...


@dataclass(frozen=True)
class Findings:
    """What a study found: the verdicts in words, and the sections that they rest on, by name."""

    verdicts: tuple[Verdict, ...]
    sections: dict[str, Section]


class Study(Protocol):
    """What the value `study` of a module experiments/NAME.py is."""

    @property
    def name(self) -> str:
        """Name of the study and of its folder of results: its module's."""
        ...

    @property
    def question(self) -> str:
        """What it asks, one sentence."""
        ...

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """What is trained; the names differ."""
        ...

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """What is measured on the trained networks, by name; may be left out if the curves are enough."""
        ...

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The reading: `results` of every experiment by its name, and what was measured."""
        ...


@runtime_checkable
class InParts(Protocol):
    """A study of which parts can be carried out alone."""

    def only(self, names: Sequence[str]) -> Study:
        """The study of these parts alone; raises ValueError for an unknown one."""
        ...


@runtime_checkable
class Paper(Protocol):
    """What the value `study` of a package experiments/NAME is: a dataclass with a figure a field."""

    name: str
    title: str

    def reproductions(self, excerpts: Mapping[str, Excerpt]) -> Mapping[str, Section]:
        """Every figure whose rows are there, by the name of its field."""
        ...


def chosen_figures(paper: Any, only: Sequence[str] = ()) -> list[str]:
    """The requested figures of a paper; all by default. Raises ValueError for an unknown one."""
    names = [field.name for field in fields(paper)]
    for one in only:
        check_choice("--only", one, names)
    return [one for one in names if one in only or not only]


def check(study: Any, budget: Budget) -> None:
    """Raises ValueError if an experiment of the study is invalid, or if two have the same name."""
    names = [one.name for one in study.experiments(budget)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{study.name} has two experiments called {', '.join(twice)}: give each a unique name")
    for one in study.experiments(budget):
        one.check()
