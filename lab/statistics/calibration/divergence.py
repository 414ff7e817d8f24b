"""Diverged runs: a penalty, worst ranks, or a separate verdict beside the loss of the runs that trained."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from lab.statistics.calibration.check import Check, blocks, rate
from lab.statistics.paired import paired_t
from lab.statistics.resampling import sign_flip_p
from lab.statistics.stability import stability, trained_t

DIVERGING = (0.05, 0.1, 0.2)
PAIRS = (8, 20)
PENALTY = 20.0  # paired sd above trained runs: the loss at initialization
LARGE = 2.8  # paired sd


def checks(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    """Errors for equal arms at each rate of divergence, and the power for a large effect if one run diverges."""
    for share in DIVERGING:
        for n in PAIRS:
            yield from _equal_arms(rng, experiments, share, n)
    for n in PAIRS:
        yield _unequal_arms(rng, experiments, n)
    yield from _one_diverged(rng, experiments)


def penalised(
    differences: Float[np.ndarray, "*batch n"],
    arm: Bool[np.ndarray, "*batch n"],
    baseline: Bool[np.ndarray, "*batch n"],
) -> Float[np.ndarray, "*batch n"]:
    """Differences by the earlier method: a diverged run gets a loss far above all others."""
    return np.where(arm == baseline, np.where(arm, 0.0, differences), np.where(arm, PENALTY, -PENALTY))


def worst_rank_p(
    differences: Float[np.ndarray, "*batch n"],
    arm: Bool[np.ndarray, "*batch n"],
    baseline: Bool[np.ndarray, "*batch n"],
) -> Float[np.ndarray, "*batch"]:
    """Exact signed-rank test; pairs with one diverged run rank highest, pairs with two are ties; Lachin (1999)."""
    scores = penalised(differences, arm, baseline)
    ranks = stats.rankdata(np.abs(scores), axis=-1)
    return sign_flip_p(np.sign(scores) * ranks)


def _equal_arms(rng: np.random.Generator, experiments: int, share: float, n: int) -> Iterator[Check]:
    hits: dict[str, list[np.ndarray]] = {"penalty": [], "worst ranks": [], "loss": [], "stability": []}
    for count in blocks(experiments):
        # Half of what makes a run diverge also makes it worse, and half of that its seed shares with the other arm.
        runs, other = rng.standard_normal((2, count, 2, n))
        shared = rng.standard_normal((2, count, 1, n))
        runs, latent = runs + shared[0], runs + other + shared[1]
        arm, baseline = np.moveaxis(latent / np.sqrt(3) > stats.norm.isf(share), 1, 0)
        differences = runs[:, 0] - runs[:, 1]
        hits["penalty"].append(paired_t(penalised(differences, arm, baseline)).p_value < 0.05)
        hits["worst ranks"].append(worst_rank_p(differences, arm, baseline) < 0.05)
        hits["loss"].append(trained_t(np.where(arm | baseline, np.nan, differences))[0].p_value < 0.05)
        hits["stability"].append(stability(arm, baseline).p_value < 0.05)
    found = {name: rate(values) for name, values in hits.items()}
    setting = f"{share:.0%} of runs diverge, {n} pairs"
    for name in ("loss", "stability", "worst ranks"):
        then = ".01 to .03" if name == "loss" else "-"
        before = found["penalty"] if name == "loss" else np.nan
        yield Check("divergence", setting, f"false verdicts, {name}", then, before, found[name], 0, 0.05, experiments)


def _unequal_arms(rng: np.random.Generator, experiments: int, n: int) -> Check:
    """An arm that diverges in its worst 20 % of runs, compared with a stable baseline of the same loss."""
    hits = []
    for count in blocks(experiments):
        runs = rng.standard_normal((count, 2, n)) + rng.standard_normal((count, 1, n))
        latent = (runs[:, 0] + np.sqrt(2) * rng.standard_normal((count, n))) / 2
        trained = np.where(latent > stats.norm.isf(0.2), np.nan, runs[:, 0] - runs[:, 1])
        t, _ = trained_t(trained)
        hits.append((t.p_value < 0.05) & (t.mean < 0))
    setting = f"20% of one arm's runs diverge, its worse ones, {n} pairs"
    # True only for the pairs in which both trained, which is why the rates are reported beside it.
    quantity = "better among those that trained"
    return Check("divergence", setting, quantity, "-", np.nan, rate(hits), None, None, experiments)


def _one_diverged(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    hits: dict[str, list[np.ndarray]] = {"penalty": [], "worst ranks": [], "loss": []}
    for count in blocks(experiments):
        differences = rng.standard_normal((count, 8)) - LARGE
        arm, baseline = np.zeros((2, count, 8), dtype=bool)
        arm[:, 0] = True
        hits["penalty"].append(paired_t(penalised(differences, arm, baseline)).p_value < 0.05)
        hits["worst ranks"].append(worst_rank_p(differences, arm, baseline) < 0.05)
        hits["loss"].append(trained_t(np.where(arm, np.nan, differences))[0].p_value < 0.05)
    found = {name: rate(values) for name, values in hits.items()}
    setting = f"effect of {LARGE:g} paired sd, 1 of 8 diverged"
    before = found["penalty"]
    yield Check("divergence", setting, "resolved, loss", "0", before, found["loss"], 0.95, 1, experiments)
    yield Check("divergence", setting, "resolved, worst ranks", "-", before, found["worst ranks"], 0.95, 1, experiments)
