"""Seed after seed until every arm is resolved: no more training than the answer needs, at the same rate of error."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lab.comparison.comparison import Comparison, compare
from lab.experiment.experiment import Experiment, activation
from lab.results.directions import split_metric
from lab.results.results import Results
from lab.runner.record import directions

FIRST = 4  # pairs at the first look: with fewer, t's critical values are so large that hardly anything is resolved
AT_ONCE = 2  # seeds from look to look

Train = Callable[[Experiment, Path, tuple[int, ...]], Results]


def check(experiment: Experiment) -> None:
    """Raises ValueError for fewer seeds than the first look takes, and for a metric without a direction."""
    if len(experiment.seeds) < FIRST:
        raise ValueError(
            f"seeds are {len(experiment.seeds)}: to stop when resolved, give at least {FIRST}, as many as may be"
        )
    metric, _ = split_metric(experiment.metric)
    if metric not in directions(experiment):
        raise ValueError(
            f"metric is '{metric}', of which nobody has declared whether more or less is better, so that no arm can be "
            f"resolved: name it in the task's directions, or ask for {metric}:max or {metric}:min"
        )


def run_sequentially(experiment: Experiment, directory: Path, train: Train) -> Results:
    """Trains the first seeds of all arms, then further ones of the arms not yet resolved, until all are or all seeds
    are used; gives the results.

    An arm is resolved when it is better, worse or the same at every setting; the baseline is trained as long as any
    arm is. `train(experiment, directory, looks)` trains what is missing and records the looks, by which the comparison
    makes up for them (`lab.statistics.sequential`).
    """
    looks, left = (FIRST, len(experiment.seeds)), experiment.activations
    for n in dict.fromkeys([*range(FIRST, len(experiment.seeds), AT_ONCE), len(experiment.seeds)]):
        found = train(replace(experiment, seeds=experiment.seeds[:n], activations=left), directory, looks)
        unresolved = _unresolved(compare(found))
        if not unresolved:
            break
        left = tuple(arm for arm in left if activation(arm).name in (*unresolved, experiment.reference))
    return found


def _unresolved(comparison: Comparison) -> set[str]:
    """Activations that are inconclusive at some setting."""
    return {arm.activation for arm in comparison.arms if arm.verdict == "inconclusive"}
