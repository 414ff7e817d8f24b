"""What the quickstart's verdicts are worth: read off the pool of `benchmarks.pool`.

Command:  python -m benchmarks.ruler [--windows results/pool]
Prints:   tables in Markdown, from benchmarks/results/pool.parquet; of the windows' losses also what control variates
          would gain
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import ttest_1samp

from benchmarks.measure import markdown
from benchmarks.pool import TABLE
from experiments.quickstart import experiment
from lab.statistics.paired import holm

BASELINE, SEEDS, LEVEL = "gelu", 8, 0.95
EVALUATIONS = {"curve": "64 windows", "final": "540 windows", "whole": "all 7,893 windows"}
AVERAGES = ("ema_20", "ema_60", "last_30", "last_75")
DRAWS = 2000
RATE = experiment.hyperparameters.learning_rate


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=Path, help="folder of the windows' losses")
    options = parser.parse_args()
    for rate, pool in pd.read_parquet(TABLE).groupby("learning_rate"):
        print(f"\nLearning rate {rate:g}\n")
        print(markdown(("arm", "evaluated on", "n", "difference", f"standard error of {SEEDS} seeds"), errors(pool)))
        print()
        columns = ("arm", f"resolved by {SEEDS} seeds, 64 windows", "540 windows", "worth so many seeds")
        print(markdown(columns, power(pool)))
        print()
        print(markdown(("arm", "weights", "difference", "worth so many seeds", "95 % interval"), averaging(pool)))
    if options.windows:
        print()
        columns = ("arm", "covariate of a window", "share of the variance between windows", "worth at most")
        print(markdown(columns, control_variates(options.windows)))


def differences(pool: pd.DataFrame, evaluation: str) -> pd.DataFrame:
    """Arm minus baseline [seeds, arms], of the seeds that an arm and the baseline have."""
    losses = pool.pivot_table(index="seed", columns="activation", values=evaluation)
    return losses.drop(columns=BASELINE).sub(losses[BASELINE], axis=0)


def errors(pool: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The mean difference, and the standard error that a mean over so few seeds has, with its 95 % interval."""
    for arm in sorted(set(pool["activation"]) - {BASELINE}):
        for evaluation, words in EVALUATIONS.items():
            if pool[evaluation].isna().all():
                continue
            found = differences(pool, evaluation)[arm].dropna().to_numpy(float)
            low, high = np.percentile(_bootstrapped(found, partial(np.std, ddof=1)), (2.5, 97.5)) / SEEDS**0.5
            error = found.std(ddof=1) / SEEDS**0.5
            yield arm, words, str(len(found)), f"{found.mean():+.4f}", f"{error:.4f} ({low:.4f} to {high:.4f})"


def power(pool: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """How often so few seeds, drawn from the pool without replacement, resolve an arm after Holm's correction, by both
    evaluations; and how many seeds of the first a seed of the second is worth: the ratio of variances."""
    small, large = (differences(pool, name) for name in ("curve", "final"))
    complete = small.dropna().index
    found = [_resolved(table.loc[complete].to_numpy(float)) for table in (small, large)]
    for index, arm in enumerate(small.columns):
        both = np.stack([table[arm].dropna().to_numpy(float) for table in (small, large)], axis=1)
        yield arm, *(f"{share[index]:.2f}" for share in found), _ratio(both)


def averaging(pool: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """What averages of the weights are worth: the ratio of (mean / sd) squared to that of the last weights."""
    last = differences(pool, "final")
    for arm in last.columns:
        for name in AVERAGES:
            both = np.stack([differences(pool, name)[arm].dropna(), last[arm].dropna()], axis=1).astype(float)
            low, high = np.percentile(_bootstrapped(both, _signal), (2.5, 97.5))
            yield arm, name, f"{both[:, 0].mean():+.4f}", f"{_signal(both, axis=0):.2f}", f"{low:.2f} to {high:.2f}"


def control_variates(folder: Path) -> Iterator[tuple[str, ...]]:
    """How much of the variance between windows of a seed's difference other knowledge of the windows explains: a
    regression on it can save as much of the windows' part of the error, and nothing of the seeds'."""
    base = _whole(folder, BASELINE)
    for path in sorted(folder.glob(f"*-{RATE:g}-0.parquet")):
        if (arm := path.stem.partition("-")[0]) == BASELINE:
            continue
        found = _whole(folder, arm) - base
        covariates = {
            "loss of the baseline, one other seed": [base[(seed + 1) % len(base)] for seed in range(len(base))],
            "loss of the baseline, mean of the other seeds": [np.delete(base, s, 0).mean(0) for s in range(len(base))],
            "difference, mean of the other seeds": [np.delete(found, s, 0).mean(0) for s in range(len(base))],
        }
        for name, values in covariates.items():
            share = np.mean([np.corrcoef(one, value)[0, 1] ** 2 for one, value in zip(found, values, strict=True)])
            yield arm, name, f"{share:.3f}", f"{1 / (1 - share):.2f}"


def _whole(folder: Path, arm: str) -> Float[np.ndarray, "seeds windows"]:
    table = pd.read_parquet(folder / f"{arm}-{RATE:g}-0.parquet").query("evaluation == 'whole'")
    return table[[column for column in table.columns if column.isdigit()]].to_numpy(float).T


def _resolved(pairs: Float[np.ndarray, "seeds arms"]) -> Float[np.ndarray, " arms"]:
    """The share of draws in which each arm is resolved."""
    rng = np.random.default_rng(0)
    chosen = pairs[np.stack([rng.choice(len(pairs), SEEDS, replace=False) for _ in range(DRAWS)])]
    return (holm(ttest_1samp(chosen, 0.0, axis=1).pvalue) < 1 - LEVEL).mean(axis=0)


def _ratio(pairs: Float[np.ndarray, "seeds two"]) -> str:
    def of(values: Float[np.ndarray, "*draws seeds two"], axis: int) -> Float[np.ndarray, "*draws"]:
        spread = values.var(axis=axis, ddof=1)
        return spread[..., 0] / spread[..., 1]

    low, high = np.percentile(_bootstrapped(pairs, of), (2.5, 97.5))
    return f"{of(pairs, 0):.1f} ({low:.1f} to {high:.1f})"


def _signal(values: Float[np.ndarray, "*draws seeds two"], axis: int) -> Float[np.ndarray, "*draws"]:
    signal = (values.mean(axis=axis) / values.std(axis=axis, ddof=1)) ** 2
    return signal[..., 0] / signal[..., 1]


def _bootstrapped(values: Float[np.ndarray, "seeds *columns"], of: Callable[..., Any]) -> np.ndarray:
    """A statistic of resampled seeds."""
    index = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    return of(values[index], axis=1)


if __name__ == "__main__":
    main()
