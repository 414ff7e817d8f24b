"""Whether the statistics keep their promises: rates of error and power on simulated experiments with known truth."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lab.report.figures import BLUE, INK, ORANGE, STYLE, TEAL
from lab.statistics.equivalence import equivalence
from lab.statistics.improvement import probability_of_improvement
from lab.statistics.paired import BCA_PAIRS, SIGN_FLIP_PAIRS, effect_with_power, holm, paired_t
from lab.statistics.resampling import bca, sign_flip_p
from lab.statistics.sequential import repeated_p

LEVEL, POWER = 0.95, 0.8
ALPHA = 1 - LEVEL
PAIRS = (5, 8, 20)
ARMS = 5  # beside the baseline that they share
OWN = 0.5  # sd of a run's own noise where that of its seed, shared by all arms, is 1
SPREAD = OWN * np.sqrt(2)  # sd of the difference between two runs of one seed
MARGIN = 3 * SPREAD  # of equivalence: so wide that even 5 pairs see one edge at a time, where the rate is alpha itself
FIRST_LOOK = 3
BLOCK = 2_000  # experiments simulated at once
PROBABILITY_DRAWS = 1_000_000

# Method, quantity, what it promises of the mean (None if nothing), and the values in a number of experiments.
Outcome = tuple[str, str, float | None, np.ndarray]
# Noise of mean 0 and variance 1.
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "skewed": lambda rng, shape: rng.standard_exponential(shape) - 1,
    "heavy-tailed": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
}
HUES = dict(zip(PAIRS, (ORANGE, TEAL, BLUE), strict=True))


def calibrate(experiments: int = 20_000, seed: int = 0) -> pd.DataFrame:
    """Simulates comparisons of 5 arms with a baseline and counts how often each method errs and finds.

    A row a method, distribution, n and quantity: method, distribution, n, quantity, nominal, value, standard_error,
    within. *coverage* and *power* should not be below the nominal, *false positives* not above it;
    `within` is whether they are not by more than two Monte Carlo standard errors, those of the nominal rate. Quantities
    without a nominal (what looking costs) have no `within`.

    The loss of a run is what its seed shares with all arms, normal, plus its own noise. In two arms of one distribution
    the difference is symmetric whatever the distribution is; so that skewed differences are tried at all, only the
    arms' noise is drawn from the distribution and the baseline's is normal. False positives are counted without any
    difference in mean, those of equivalence at the margin's upper edge, those of the probability of improvement between
    two arms of one distribution, where it is 1/2. Power is that at `effect_with_power`. All methods are the functions
    that a report uses.
    With 20,000 experiments it takes 2 to 3 minutes on one core, most of them for the BCa bootstrap, and 300 MB.
    Raises ValueError if there is no experiment.
    """
    if experiments < 1:
        raise ValueError(f"experiments is {experiments}: it must be at least 1")
    rows = []
    for number, distribution in enumerate(DISTRIBUTIONS):
        for n in PAIRS:
            rng = np.random.default_rng([seed, number, n])
            rows += [{"distribution": distribution, "n": n, **row} for row in _rows(rng, distribution, n, experiments)]
    order = ["method", "distribution", "n", "quantity", "nominal", "value", "standard_error", "within"]
    return pd.DataFrame(rows)[order].astype({"within": "boolean"})


def draw(table: pd.DataFrame) -> Figure:
    """The rates of error that `calibrate` found, on a logarithmic axis: a panel a distribution, a colour a number of
    pairs, a stroke the nominal rate. An interval's error is not to cover.
    """
    rates = table[table["quantity"].str.startswith(("coverage", "false"))].copy()
    covers = rates["quantity"].str.startswith("coverage")
    rates["label"] = rates["method"] + ", " + rates["quantity"].str.replace("coverage", "misses")
    for column in ("nominal", "value"):
        rates[column] = rates[column].where(~covers, 1 - rates[column])
    labels = list(dict.fromkeys(rates.sort_values("n", kind="stable")["label"]))
    distributions = list(dict.fromkeys(rates["distribution"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.1 + 0.3 * len(labels)), layout="constrained")
        panels = figure.subplots(1, len(distributions), sharex=True, sharey=True, squeeze=False)[0]
        for axes, distribution in zip(panels, distributions, strict=True):
            _draw_rates(axes, rates[rates["distribution"] == distribution], labels)
            axes.set_title(distribution)
        panels[0].set(yticks=range(len(labels)), ylim=(len(labels) - 0.4, -0.6), xscale="log", xlim=(0.4, 100))
        panels[0].set_yticklabels(labels)
        panels[0].set_xticks([1, 2.5, 5, 10, 25, 50], ["1", "2.5", "5", "10", "25", "50"])
        panels[0].xaxis.set_minor_locator(NullLocator())
        panels[len(panels) // 2].set_xlabel("experiments in error (%)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _draw_rates(axes: Axes, rates: pd.DataFrame, labels: list[str]) -> None:
    nominal = rates.drop_duplicates("label")
    strokes = nominal["label"].map(labels.index)
    axes.plot(100 * nominal["nominal"], strokes, "|", color=INK, markersize=14, label="nominal")
    for offset, (n, hue) in zip((-0.2, 0, 0.2), HUES.items(), strict=True):
        one = rates[rates["n"] == n]
        height = one["label"].map(labels.index) + offset
        bars = 200 * one["standard_error"]
        axes.errorbar(100 * one["value"], height, xerr=bars, fmt="o", markersize=3.5, color=hue, label=f"{n} pairs")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _rows(rng: np.random.Generator, distribution: str, n: int, experiments: int) -> Iterator[dict[str, Any]]:
    effect = effect_with_power(SPREAD, n, LEVEL, POWER)
    probability = _probability(rng, distribution, effect)
    found: defaultdict[tuple[str, str, float | None], list[np.ndarray]] = defaultdict(list)
    for start in range(0, experiments, BLOCK):
        arms, baseline = _losses(rng, distribution, min(BLOCK, experiments - start), n)
        for outcome in chain(_errors(arms, baseline), _findings(arms[:, 0] - effect - baseline[:, 0], probability)):
            found[outcome[:3]].append(outcome[3])
    for (method, quantity, nominal), values in found.items():
        yield {"method": method, "quantity": quantity, "nominal": nominal, **_mean(quantity, nominal, values)}


def _losses(
    rng: np.random.Generator, distribution: str, experiments: int, n: int
) -> tuple[Float[np.ndarray, "experiments arms n"], Float[np.ndarray, "experiments 1 n"]]:
    """The losses of the arms and of the baseline, all of one mean."""
    seeds, baseline = rng.standard_normal((2, experiments, 1, n))
    return seeds + OWN * DISTRIBUTIONS[distribution](rng, (experiments, ARMS, n)), seeds + OWN * baseline


def _probability(rng: np.random.Generator, distribution: str, effect: float) -> float:
    """The true probability that an arm beats the baseline which it improves by `effect`."""
    arms, baseline = _losses(rng, distribution, PROBABILITY_DRAWS // ARMS, 1)
    return float(np.mean(arms - effect < baseline))


def _errors(
    arms: Float[np.ndarray, "experiments arms n"], baseline: Float[np.ndarray, "experiments 1 n"]
) -> Iterator[Outcome]:
    """How often the methods err where there is nothing to find."""
    differences = arms - baseline
    one, n = differences[:, 0], differences.shape[-1]
    t = paired_t(differences, LEVEL)
    yield "t interval", "coverage", LEVEL, (t.low[:, 0] <= 0) & (t.high[:, 0] >= 0)
    yield "t tests, Holm", "false positives in 5 arms", ALPHA, np.any(holm(t.p_value) < ALPHA, axis=-1)
    if n >= SIGN_FLIP_PAIRS:
        yield "sign flips", "false positives", ALPHA, sign_flip_p(one) < ALPHA
    if n >= BCA_PAIRS:
        low, high = bca(one, LEVEL)
        yield "BCa bootstrap", "coverage", LEVEL, (low <= 0) & (high >= 0)
    yield "equivalence", "false positives", ALPHA, equivalence(one + MARGIN, MARGIN, LEVEL).p_value < ALPHA
    improvement = probability_of_improvement(arms[:, 1] - arms[:, 0], LEVEL)
    yield "improvement", "false positives", ALPHA / 2, improvement.low > 0.5
    yield "improvement", "coverage", LEVEL, (improvement.low <= 0.5) & (improvement.high >= 0.5)
    p = repeated_p(differences, FIRST_LOOK, n)[..., -1]  # it never rises: the last look has found what any has
    yield "sequential", "false positives", ALPHA, p[:, 0] < ALPHA
    yield "sequential, Holm", "false positives in 5 arms", ALPHA, np.any(holm(p) < ALPHA, axis=-1)


def _findings(differences: Float[np.ndarray, "experiments n"], probability: float) -> Iterator[Outcome]:
    """How often the methods find an effect, which makes the arm better with the given probability."""
    n = differences.shape[-1]
    yield "t interval", "power", POWER, paired_t(differences, LEVEL).p_value < ALPHA
    improvement = probability_of_improvement(differences, LEVEL)
    covers = (improvement.low <= probability) & (improvement.high >= probability)
    yield "improvement", "coverage of an effect", LEVEL, covers
    yield "improvement", "power", None, improvement.low > 0.5
    found = repeated_p(differences, FIRST_LOOK, n) < ALPHA
    yield "sequential", "power", None, found[:, -1]
    yield "sequential", "pairs", None, np.where(found[:, -1], FIRST_LOOK + found.argmax(axis=-1), n)


def _mean(quantity: str, nominal: float | None, blocks: list[np.ndarray]) -> dict[str, Any]:
    """The mean over all experiments, its standard error and whether it keeps what is promised."""
    values = np.concatenate(blocks)
    mean, spread = values.mean(), values.std() if nominal is None else np.sqrt(nominal * (1 - nominal))
    error = spread / np.sqrt(len(values))
    excess = None if nominal is None else mean - nominal if quantity.startswith("false") else nominal - mean
    within = None if excess is None else bool(excess <= 2 * error)
    return {"value": mean, "standard_error": error, "within": within}
