"""A study: a question that takes several experiments, trained networks perhaps, and a reading of both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from lab.experiment.experiment import Budget, Experiment
from lab.report.reproduction import Verdict
from lab.report.study_page import Section
from lab.results.results import Results

Evaluate = Callable[..., pd.DataFrame]
"""`ablations.evaluate` of one of the study's experiments: (experiment, where, function) -> rows."""


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
        """What is measured on the trained networks, by name; none if the curves are enough."""
        ...

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The reading: `results` of every experiment by its name, and what was measured."""
        ...


def check(study: Any, budget: Budget) -> None:
    """Raises ValueError where an experiment of the study is not allowed, or two have one name."""
    names = [one.name for one in study.experiments(budget)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{study.name} has two experiments called {', '.join(twice)}: give each a name of its own")
    for one in study.experiments(budget):
        one.check()
