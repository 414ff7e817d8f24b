"""The second standard error of a difference: over seeds and text; the first is over seeds alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lab.results.examples import Examples, same_examples
from lab.statistics.crossed import Crossed, by_document, crossed

if TYPE_CHECKING:
    import pandas as pd

    from lab.results.results import Results


class Differences(NamedTuple):
    """Arm minus baseline for every pair and example, with the document and the weight of each example."""

    values: Float[np.ndarray, "seeds examples"]
    document: Int[np.ndarray, " examples"]
    weight: Float[np.ndarray, " examples"]


def crossed_errors(
    results: Results, arm: pd.DataFrame, baseline: pd.DataFrame, split: str, metric: str, step: int | None
) -> Crossed | None:
    """The noise of the mean difference between an arm and its baseline, from the last evaluation's per-example values.

    Examples of one document are a cluster; without documents, each is its own. Arguments and None as in `differences`.
    """
    found = differences(results, arm, baseline, split, metric, step)
    return None if found is None else crossed(*by_document(*found))


def differences(
    results: Results, arm: pd.DataFrame, baseline: pd.DataFrame, split: str, metric: str, step: int | None
) -> Differences | None:
    """The differences between an arm and its baseline on every example of the last evaluation.

    `arm` and `baseline` are rows of `lab.comparison.outcomes.outcomes`, indexed by seed; the pairs are those in which
    both trained. `step` is the step of the comparison, None for each arm's last. None if per-example values were not
    kept (another step, a metric derived from others, an earlier version), if the two were evaluated on different
    examples, or if fewer than two pairs or documents remain.
    """
    common = arm.index.intersection(baseline.index)
    trained = ~(arm.loc[common, "diverged"] | baseline.loc[common, "diverged"])
    seeds = common[trained.to_numpy()]
    if len(seeds) < 2:
        return None
    ours, theirs = (_examples(results, rows.loc[seeds], split, metric, step) for rows in (arm, baseline))
    if ours is None or theirs is None or not same_examples(ours, theirs):
        return None
    values = ours.values.astype(np.float64) - theirs.values
    several = len(np.unique(ours.document)) > 1
    return Differences(values, ours.document, ours.weight) if several and np.isfinite(values).all() else None


def _examples(results: Results, rows: pd.DataFrame, split: str, metric: str, step: int | None) -> Examples | None:
    """The per-example values of the runs in `rows`, in their order."""
    cells = rows["cell"].unique()
    if len(cells) > 1 or (step is not None and results.ends.get(cells[0]) != step):
        return None
    found = results.examples(cells[0], split, metric)
    if found is None:
        return None
    same = _same(found.runs, rows)
    return found.of(same.argmax(axis=1)) if (same.sum(axis=1) == 1).all() else None


def _same(runs: pd.DataFrame, rows: pd.DataFrame) -> Bool[np.ndarray, "rows runs"]:
    """Which of the runs has the seed of a row, its index, and, where they vary, its hyperparameters."""
    same = rows.index.to_numpy()[:, None] == runs["seed"].to_numpy()
    for name in runs.columns.intersection(rows.columns):
        same &= np.isclose(rows[name].to_numpy(float)[:, None], runs[name].to_numpy(float))
    return same
