"""Differences and gains of arms, each at a learning rate chosen from few runs."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from lab.statistics.calibration.check import Check, blocks, covered, rate
from lab.statistics.choice import best_rate_contrast, excess, tuned_difference, with_choice
from lab.statistics.curves.power_laws import power_laws
from lab.statistics.jackknife import pseudo_values
from lab.statistics.paired import paired_t

RATES = 5
SD = 0.02  # nats, the noise of a run
DRAWS = 200
COEFFICIENTS = {0.005: ".129", 0.02: ".097", 0.05: ".068", 0.1: ".058"}  # nats per squared step of the grid
# Root mean square cost of the rate chosen by 2 tuning seeds -> noise of a run and coefficient that cause it.
CHOICE_ERRORS = {0.005: (0.0065, 0.004, ".90 to .92"), 0.015: (0.0195, 0.012, ".73 to .80")}
SIZES = np.geomspace(1e15, 1e17, 5)
MEASURED_SD = 0.006  # nats, the noise of the runs to which the laws are fitted
LAW_DRAWS, LAW_SEEDS = 40, 5
FEWER = 50  # factor by which experiments are reduced, as power laws are fitted one by one


def checks(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    """Coverage of the difference at each arm's best rate, errors without a difference, coverage of a gain."""
    for coefficient in COEFFICIENTS:
        for n in (8, 20):
            yield _other_seeds(rng, experiments, coefficient, n)
    for coefficient, then in COEFFICIENTS.items():
        yield _same_seeds(rng, experiments, coefficient, then)
    for error in CHOICE_ERRORS:
        yield _gain(rng, max(experiments // FEWER, 1), error)


def parabolas(
    rng: np.random.Generator, count: int, coefficient: float, arms: int = 2
) -> Float[np.ndarray, "count arms rates"]:
    """Mean losses of arms whose best rates lie anywhere within the grid, by steps of the grid."""
    best = rng.uniform(0.5, RATES - 1.5, (count, arms, 1))
    return coefficient * (np.arange(RATES) - best) ** 2


def leave_one_out(losses: Float[np.ndarray, "*batch rates n"]) -> Float[np.ndarray, "*batch n"]:
    """Each seed's loss at the rate chosen by the other seeds."""
    chosen = (losses.sum(axis=-1, keepdims=True) - losses).argmin(axis=-2)
    return np.take_along_axis(losses, chosen[..., None, :], axis=-2)[..., 0, :]


def _other_seeds(rng: np.random.Generator, experiments: int, coefficient: float, n: int) -> Check:
    alone, found = [], []
    for count in blocks(experiments):
        means = parabolas(rng, count, coefficient)
        tuning = means[..., None] + SD * rng.standard_normal((*means.shape, 2))
        at = np.take_along_axis(means, tuning.mean(axis=-1).argmin(axis=-1)[..., None], axis=-1)[..., 0]
        differences = (at[:, 0] - at[:, 1])[:, None] + SD * np.sqrt(2) * rng.standard_normal((count, n))
        truth = means[:, 0].min(axis=-1) - means[:, 1].min(axis=-1)
        t, tuned = paired_t(differences), tuned_difference(differences, tuning[:, 0], tuning[:, 1], draws=DRAWS)
        alone.append(covered((t.low, t.high), truth))
        found.append(covered((tuned.low, tuned.high), truth))
    setting = f"2 tuning seeds, {n} others, parabola {coefficient:g}"
    return Check(
        "tuned", setting, "coverage at the best rates", ".87 to .92", rate(alone), rate(found), 0.93, 1.0, experiments
    )


def _same_seeds(rng: np.random.Generator, experiments: int, coefficient: float, then: str) -> Check:
    alone, found = [], []
    for count in blocks(experiments):
        means = parabolas(rng, count, coefficient)
        means -= means.min(axis=-1, keepdims=True)
        losses = means[..., None] + SD * rng.standard_normal((*means.shape, 5))
        left_out = leave_one_out(losses)
        alone.append(paired_t(left_out[:, 0] - left_out[:, 1]).p_value < 0.05)
        found.append(best_rate_contrast(losses, draws=DRAWS).p_value < 0.05)
    setting = f"5 seeds choose and measure, parabola {coefficient:g}"
    return Check("tuned", setting, "false differences", then, rate(alone), rate(found), 0.0, 0.06, experiments)


def _gain(rng: np.random.Generator, experiments: int, error: float) -> Check:
    """The log of the compute that an arm saves compared with the first one by its power law, averaged over sizes."""
    noise, coefficient, then = CHOICE_ERRORS[error]
    x = np.stack([SIZES, SIZES])
    law = 2.0 + np.array([[60.0], [58.0]]) * x**-0.12
    truth, alone, found = log_gain(x, law), [], []
    for _ in range(experiments):
        means = parabolas(rng, 1, coefficient, law.size)[0]
        means -= means.min(axis=-1, keepdims=True)
        tuning = means[..., None] + noise * rng.standard_normal((*means.shape, 2))
        chosen = np.take_along_axis(means, tuning.mean(axis=-1).argmin(axis=-1)[:, None], axis=-1)
        runs = (law + chosen.reshape(law.shape))[..., None] + MEASURED_SD * rng.standard_normal((*law.shape, LAW_SEEDS))
        t = paired_t(pseudo_values(partial(_gain_of_seeds, x, runs), LAW_SEEDS))
        average = runs.mean(axis=-1)
        repeated = excess(tuning, LAW_DRAWS, rng).reshape(LAW_DRAWS, *law.shape)
        moved = np.array([log_gain(x, average - one) for one in repeated]) - log_gain(x, average)
        tuned = with_choice(t.mean, t.sd / np.sqrt(LAW_SEEDS), LAW_SEEDS - 1, np.sqrt((moved**2).mean()))
        alone.append(covered((t.low, t.high), truth))
        found.append(covered((tuned.low, tuned.high), truth))
    setting = f"gain by power laws, choice error {error:g}"
    return Check("tuned", setting, "coverage", then, rate(alone), rate(found), 0.93, 1.0, experiments)


def log_gain(x: Float[np.ndarray, "2 sizes"], losses: Float[np.ndarray, "2 sizes"]) -> float:
    """Mean over sizes of log(compute that the first arm needs for the loss of the second / compute of the second)."""
    laws = power_laws(x, losses)
    relative = np.log(laws.size(0, np.maximum(losses, laws.limit + 1e-9))) - np.log(x)
    return float((relative[1] - relative[0]).mean())


def _gain_of_seeds(
    x: Float[np.ndarray, "2 sizes"], runs: Float[np.ndarray, "2 sizes seeds"], kept: Int[np.ndarray, " kept"]
) -> float:
    return log_gain(x, runs[..., kept].mean(axis=-1))
