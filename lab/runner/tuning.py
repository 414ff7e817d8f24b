"""Tuning before the run: the whole grid of every arm on tuning seeds, of which each arm gets its best point."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lab.comparison import tuning
from lab.experiment.experiment import Experiment, tuning_of, with_overrides
from lab.results.record import FILE
from lab.results.results import Results

Train = Callable[[Experiment, Path], Results]


def tuned(experiment: Experiment, directory: Path, train: Train) -> tuple[Experiment, pd.DataFrame | None]:
    """The experiment with what was chosen for each arm, and the table of the search; itself if nothing is to be tuned.

    Results that were begun at one rate go on at it, as those of an older version of an experiment that tunes by now.

    `train(experiment, directory)` trains what is missing; the tuning runs lie in a results directory of their own,
    DIRECTORY/tuning.
    """
    begun_untuned = (directory / FILE).exists() and not (directory / "tuning").exists()
    if not experiment.tuning_rates or begun_untuned:
        return experiment, None
    table = tuning.tuned(train(tuning_of(experiment), directory / "tuning"))
    return with_overrides(experiment, tuning.choices(table)), table
