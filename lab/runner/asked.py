"""What a user asks for: an experiment, the folder of its results, and the session that trains it.

Heavy libraries are imported where they are needed, as in `lab.runner.interface`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.experiment.experiment import Experiment
    from lab.runner.mode import Mode
    from lab.runner.record import PlanFile
    from lab.runner.session import Session


def session_of(
    asked: Experiment, out: str | Path | None, mode: Mode, plan: str | Path | PlanFile | None = None
) -> Session:
    """The experiment checked, and ready to be trained in the folder of its results."""
    from lab.data import catalogue
    from lab.runner import record, session

    file = record.plan_file(Path(plan)) if isinstance(plan, str | Path) else plan
    return session.start(asked, folder_of(asked, out), mode, command_line(), catalogue.reference_predictors, file)


def experiment_of(experiment: Experiment | str) -> Experiment:
    """The experiment itself, or the one of that name or file."""
    from lab.experiment.library import find

    return find(experiment) if isinstance(experiment, str) else experiment


def folder_of(asked: Experiment, out: str | Path | None) -> Path:
    """The folder of its results, results/NAME unless given."""
    return Path(out) if out is not None else Path("results") / asked.name


def command_line() -> str:
    """The command that reproduces the results, as far as this process knows."""
    program, *arguments = sys.argv
    called = Path(program).stem == "ablations"
    return shlex.join(["ablations", *arguments]) if called else "ablations.run(...), from Python"
