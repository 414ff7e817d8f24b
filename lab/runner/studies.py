"""Studies and the figures of papers: their experiments trained, their networks measured, their pages written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.experiment.study import InParts, Paper, check, chosen_figures
from lab.report import report
from lab.report.studies import study_page
from lab.results import excerpts
from lab.results.excerpts import Excerpt, of_results
from lab.results.results import Results
from lab.runner.networks.networks import evaluated, evaluated_by_cell
from lab.runner.session import Session
from lab.runner.stability.restarts import Restart, restarts
from lab.runner.stability.stable_rates import Search, StableRates, stable_rates

Train = Callable[[Experiment, Path], Results]  # trains what is missing of an experiment in a directory
Start = Callable[[Experiment, Path], Session]  # what trains otherwise than the experiment says


def carry_out(study: Any, budget: Budget, folder: Path, train: Train, start: Start, only: Sequence[str] = ()) -> Path:
    """Trains and measures what a study or a paper needs, each experiment in a folder of its own, and writes its page.

    `only` are the parts to carry out: figures of a paper, or what a study has. Raises ValueError for a part
    that there is not.
    """
    if isinstance(study, Paper):
        return _reproduce(study, budget, chosen_figures(study, only), folder, train, start)
    if only:
        if not isinstance(study, InParts):
            raise ValueError(f"--only is {' '.join(only)}: {study.name} has no parts to choose from")
        study = study.only(only)
    check(study, budget)
    found = {one.name: _marked(train(one, folder / one.name), budget) for one in study.experiments(budget)}
    measured = study.measurements(budget, Evaluator(folder, start)) if hasattr(study, "measurements") else {}
    for name, rows in measured.items():
        Excerpt(rows, {}).write(folder / "measured", name)
    findings = study.findings(found, measured)
    made = {name: of_results(results) for name, results in found.items()}
    reports = {name: report.parts(results) for name, results in found.items()}
    return study_page.write(folder, study.question, findings.sections, made, {}, study.name, findings.verdicts, reports)


def _marked(results: Results, budget: Budget) -> Results:
    """Results that know their budget, of which a report warns."""
    return replace(results, experiment={**results.experiment, "budget": budget})


def _reproduce(paper: Paper, budget: Budget, chosen: Sequence[str], folder: Path, train: Train, start: Start) -> Path:
    """Makes the chosen figures of a paper, as far as their data are available, and the page of all that are there."""
    left_out = {}
    for name in chosen:
        try:
            _measure(getattr(paper, name), budget, folder, train, start)
        except FileNotFoundError as error:  # its data
            left_out[name] = str(error)
    saved = excerpts.read(folder / "saved")
    made = paper.reproductions(saved)
    untrained = [name for name in chosen if name not in {*made, *left_out}]
    left_out |= dict.fromkeys(untrained, f"nothing is trained for it with --budget {budget}")
    return study_page.write(folder, paper.title, made, saved, left_out)


def _measure(figure: Any, budget: Budget, folder: Path, train: Train, start: Start) -> None:
    """Trains what a figure needs, measures the networks, and keeps the rows."""
    made: dict[str, Any] = {}
    for experiment in figure.experiments(budget):
        excerpt = of_results(train(experiment, folder / "experiments" / experiment.name))
        excerpt.write(folder / "saved", experiment.name)
        made = excerpt.made
    for name, rows in figure.measurements(budget, Evaluator(folder / "experiments", start)).items():
        Excerpt(rows, made).write(folder / "saved", name)


@dataclass(frozen=True)
class Evaluator:
    """What measures the networks of experiments whose results are in a folder, by their names."""

    folder: Path
    start: Start

    def __call__(self, experiment: Experiment, where: Any, function: Any) -> pd.DataFrame:
        """Rows of one network after another."""
        return evaluated(experiment, self.folder / experiment.name, function, where)

    def cells(self, experiment: Experiment, function: Any) -> dict[str, pd.DataFrame]:
        """Tables of all networks of a cell at once."""
        return evaluated_by_cell(experiment, self.folder / experiment.name, function)

    def stable_rates(self, experiment: Experiment, search: Search) -> StableRates:
        """The largest stable learning rates of all arms and seeds."""
        return stable_rates(self.start(experiment, self.folder / experiment.name), search)

    def restarts(self, experiment: Experiment, restart: Restart) -> pd.DataFrame:
        """Losses after warm restarts of all networks."""
        return restarts(self.start(experiment, self.folder / experiment.name), restart)
