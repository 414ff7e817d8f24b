"""How much does chance alone change the final loss and the predictions of a network trained repeatedly?

Command:  ablations study noise_floor --budget short
Cost:     453 s of processor time for the runs (short) on an AMD EPYC, 10 minutes of 2 CPU cores: 280 runs of
          153,600 tokens and 13 programs. Full: 2,600 runs of 1.5 million tokens, an hour or two on a GPU (not measured)
Expected: initial weights and the order of the batches change the loss about equally (Bouthillier et al. 2021 found
          neither to be negligible); the machine alone changes nothing on one CPU, and little on a GPU; smooth
          activations predict more alike between seeds than ReLU (Shamir, Lin and Coviello 2020); a network compared
          with itself does not differ with equal seeds, and is inconclusive with different seeds

The task and network are those of `quickstart`. Sources of variance are removed one by one: with `init_seed` 0 all runs
have the same initial weights, with `order_seed` 0 the same batches in the same order; there is no dropout. With both,
only the machine remains: all runs are the same computation. Short: gelu, relu, swiglu with seeds 0 to 19 in the four
combinations, and gelu again under another name with seeds 0 to 39; 300 steps of 8 windows of 64. Full: also silu, geglu
and and relu2, seeds 0 to 99 and 0 to 199, 3,000 steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

from experiments.quickstart import experiment as quickstart
from lab.comparison.comparison import Arm, Comparison, compare
from lab.comparison.outcomes import outcomes
from lab.experiment.budget import Budget
from lab.experiment.experiment import Cell, Experiment, Tuning
from lab.experiment.study import Evaluate, Findings
from lab.report.figures import INK, STYLE, colour, differences
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.statistics.jackknife import pseudo_values
from lab.statistics.paired import paired_t
from lab.statistics.spread import sd_interval
from lab.training.settings import Run
from models.activations import Activation, activation

SOURCES = {
    "everything": (None, None),
    "batches": (0, None),
    "initial weights": (None, 0),
    "machine": (0, 0),
}
"""What varies: the values of init_seed and order_seed."""
AGAIN = "gelu_again"
ARMS: dict[Budget, tuple[str, ...]] = {
    "smoke": ("gelu", "relu"),
    "short": ("gelu", "relu", "swiglu"),
    "full": ("gelu", "relu", "swiglu", "silu", "geglu", "relu2"),
}
SEEDS: dict[Budget, int] = {"smoke": 3, "short": 20, "full": 100}
STEPS: dict[Budget, int] = {"smoke": 20, "short": 300, "full": 3000}
WINDOWS = 32
"""Test windows on which predictions are compared."""
METRICS = {
    "total_variation": "total variation",
    "relative_difference": "relative difference at the next token",
}
Predictions = Float[np.ndarray, "networks positions vocab"]


def again(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU, exactly."""
    return activation("gelu").function(x)


@dataclass(frozen=True)
class NoiseFloor:
    """Sources of variance one by one, predictions of networks that differ in their seed, and A compared with A."""

    name: str = "noise_floor"
    question: str = "How much does chance alone change the final loss and the predictions?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """Every source of variance for every activation; and gelu again, with twice the number of seeds."""
        count, model = SEEDS[budget], quickstart.model
        smaller = replace(model, d_model=16, n_layers=1, n_heads=2) if budget == "smoke" else model
        sources = replace(
            quickstart,
            name="noise_floor_sources",
            question="How much of the spread of the final loss is due to what?",
            model=smaller,
            activations=ARMS[budget],
            seeds=tuple(range(count)),
            learning_rates=(quickstart.hyperparameters.learning_rate,),
            tuning=Tuning(),
            axes=(("settings.init_seed", (None, 0)), ("settings.order_seed", (None, 0))),
            settings=replace(quickstart.settings, steps=STEPS[budget]),
        )
        repeated = replace(
            sources,
            name="noise_floor_again",
            question="Is a network the same as itself?",
            activations=(Activation(AGAIN, again),),
            baseline=AGAIN,
            seeds=tuple(range(2 * count)),
            axes=(),
        )
        return sources, repeated

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """The distance of test predictions between networks of one activation, with everything varying; see `apart`."""
        sources, _ = self.experiments(budget)
        arms = [activation(name).name for name in sources.activations]
        return {"predictions": pd.concat([apart(sources, name, evaluate) for name in arms], ignore_index=True)}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The contribution of each source, the most reproducible predictions, and false alarms of the rule."""
        sources, repeated = results["noise_floor_sources"], results["noise_floor_again"]
        ends = final(sources)
        spread, count = spreads(ends), ends["seed"].nunique()
        alike = {metric: compare_predictions(measured["predictions"], metric) for metric in METRICS}
        same, other = against_itself(sources.rows, repeated.rows, 0), against_itself(sources.rows, repeated.rows, count)
        return Findings(
            verdicts=(
                machine(ends),
                *(verdict for name in dict.fromkeys(ends["activation"]) for verdict in parts(ends, name)),
                *(more_alike(arm, metric) for metric, found in alike.items() for arm in found.arms),
                identical(same),
                resolves_nothing(other),
            ),
            sections={
                "sources": Section(
                    "Where the spread of the final loss comes from",
                    drawn_spreads(spread),
                    spread,
                    notes=(
                        "sd of the final validation loss over the seeds, with a chi-square interval (normal theory); "
                        "share is the variance over that of everything",
                        "with initial weights or batches fixed, their interaction with what still varies is included: "
                        "if there is one, the shares add up to more than 1",
                        "the ratios of variances above are the jackknife's over seeds, each at level 0.95",
                    ),
                ),
                "predictions": Section(
                    "How far the predictions of two seeds lie apart",
                    drawn_predictions(alike),
                    pd.concat([tabulated(found) for found in alike.values()], ignore_index=True),
                    notes=(
                        f"{WINDOWS} test windows; mean over positions and pairs of networks of one activation. Total "
                        "variation: half the sum over the vocabulary of |p - q|. Relative difference: |p - q| over the "
                        "mean of p and q, for the token that comes next",
                        "intervals are the jackknife's over networks, paired by seed with relu; a dot is a "
                        "pseudo-value: the contribution of a network to the mean",
                    ),
                ),
                "again": Section(
                    "A against A",
                    differences(other),
                    pd.concat(
                        [tabulated(same).assign(seeds="the same"), tabulated(other).assign(seeds="others")],
                        ignore_index=True,
                    ),
                    notes=(f"{AGAIN} is the same function under another name, compiled as a separate program",),
                ),
            },
        )


def apart(sources: Experiment, name: str, evaluate: Evaluate) -> pd.DataFrame:
    """Jackknife pseudo-values of the two measures of `METRICS`, one per network, as rows like those of curves.

    The networks of one activation are in memory together, 2 MB each; diverged ones have no predictions.
    """
    kept: dict[int, Float[np.ndarray, "positions vocab"]] = {}
    tokens: list[Int[np.ndarray, " positions"]] = []

    def keep(cell: Cell, run: Run, variables: Any, test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        batch = {field: part[0] for field, part in cell.task.evaluation_batches(test, WINDOWS).items()}
        kept[run.seed] = np.asarray(_probabilities(cell.model, cell.task, variables, batch))
        tokens.append(batch["tokens"][:, 1:].ravel())
        return [{"step": cell.settings.steps, "cell": cell.name, "task": cell.task.name}]

    def everything(cell: Cell, run: Run) -> bool:
        return cell.activation.name == name and dict(cell.axes) == {"init_seed": None, "order_seed": None}

    networks = evaluate(sources, everything, keep).drop(columns=["init_seed", "order_seed"])
    networks = networks[[bool(np.isfinite(kept[seed]).all()) for seed in networks["seed"]]]
    predictions = np.stack([kept[seed] for seed in networks["seed"]])
    about = networks.assign(experiment=sources.name, model=type(sources.model).__name__.lower(), split="test")
    return pd.concat(
        [
            about.assign(metric=metric, value=contributions(distances))
            for metric, distances in pairwise(predictions, tokens[0]).items()
        ],
        ignore_index=True,
    )


@partial(jax.jit, static_argnums=(0, 1))
def _probabilities(model: Any, task: Any, variables: Any, batch: Any) -> Float[Array, "positions vocab"]:
    logits = model.apply(variables, *task.inputs(batch))
    return jax.nn.softmax(logits).reshape(-1, logits.shape[-1])


def pairwise(
    predictions: Predictions, tokens: Int[np.ndarray, " positions"]
) -> dict[str, Float[np.ndarray, "networks networks"]]:
    """The mean distance of predictions for every pair of networks, by the names of `METRICS`.

    For two models the total variation is the prediction difference of Shamir, Lin and Coviello (2020), "Smooth
    activations and reproducibility in deep networks"; their relative difference is taken at the token that comes next.
    """
    n = len(predictions)
    found = {metric: np.zeros((n, n)) for metric in METRICS}
    next_token = np.take_along_axis(predictions, tokens[None, :, None], axis=2)[..., 0]
    for i, j in combinations(range(n), 2):
        p, q = next_token[i], next_token[j]
        variation = np.abs(predictions[i] - predictions[j]).sum(axis=1).mean() / 2
        relative = (2 * np.abs(p - q) / (p + q)).mean()
        for metric, value in zip(METRICS, (variation, relative), strict=True):
            found[metric][i, j] = found[metric][j, i] = value
    return found


def contributions(distances: Float[np.ndarray, "networks networks"]) -> Float[np.ndarray, " networks"]:
    """The jackknife pseudo-values of the mean over pairs; each leaves out a network with all its pairs."""
    return pseudo_values(lambda kept: _mean_of_pairs(distances[np.ix_(kept, kept)]), len(distances))


def _mean_of_pairs(distances: Float[np.ndarray, "networks networks"]) -> float:
    return float(distances[np.triu_indices(len(distances), 1)].mean())


def compare_predictions(rows: pd.DataFrame, metric: str) -> Comparison:
    """Every activation against relu, paired by seed, in a measure of `METRICS`: the more alike, the better."""
    return compare(rows, baseline="relu", metric=f"{metric}:min", split="test")


def final(sources: Results) -> pd.DataFrame:
    """Activation, source, seed and final validation loss of every run."""
    rows, rule = sources.rows, sources.experiment
    ends = outcomes(rows, rule["metric"], rule["split"], int(rows["step"].max()))
    names = {(init is None, order is None): name for name, (init, order) in SOURCES.items()}
    varying = zip(ends["init_seed"].isna(), ends["order_seed"].isna(), strict=True)
    return ends[["activation", "seed", "value"]].assign(source=[names[pair] for pair in varying])


def by_source(ends: pd.DataFrame, name: str) -> dict[str, Float[np.ndarray, " n"]]:
    """Final losses of one activation, in the order of the seeds, for every source."""
    table = ends[ends["activation"] == name].pivot_table(index="source", columns="seed", values="value")
    return {source: table.loc[source].to_numpy() for source in SOURCES}


def spreads(ends: pd.DataFrame) -> pd.DataFrame:
    """One row per activation and source: n, mean, sd with low and high, and the share of the variance of everything."""
    rows = []
    for name in dict.fromkeys(ends["activation"]):
        losses = by_source(ends, name)
        for source, values in losses.items():
            sd = sd_interval(values)
            whole = losses["everything"].std()
            about = {"activation": name, "what varies": source, "n": len(values), "mean": values.mean()}
            about |= {"sd": float(sd.value), "low": float(sd.low), "high": float(sd.high)}
            rows.append({**about, "share": values.var() / whole**2 if whole else np.nan})
    return pd.DataFrame(rows)


def machine(ends: pd.DataFrame) -> Verdict:
    """Whether repetitions of the same computation end with the same number."""
    claim = "The machine alone changes nothing: the same computation ends with the same loss"
    losses = {str(name): by_source(ends, str(name))["machine"] for name in dict.fromkeys(ends["activation"])}
    words = [f"{name} {len(np.unique(values))} of {len(values)}" for name, values in losses.items()]
    sds = [float(values.std(ddof=1)) for values in losses.values() if len(values) > 1]
    if not sds:
        return Verdict(claim, "no verdict", "one run per activation")
    reason = f"different values: {', '.join(words)}; largest sd {max(sds):.2g}"
    return Verdict(claim, "yes" if all(np.ptp(values) == 0 for values in losses.values()) else "no", reason)


def parts(ends: pd.DataFrame, name: str) -> list[Verdict]:
    """For one activation: whether batches or initial weights change the loss more, and whether variances add up."""
    losses = by_source(ends, name)

    def variance(source: str, kept: Any) -> float:
        return float(losses[source][kept].var(ddof=1))

    def more(kept: Any) -> float:
        return np.log(variance("batches", kept) / variance("initial weights", kept))

    def sum_of_parts(kept: Any) -> float:
        together = variance("batches", kept) + variance("initial weights", kept)
        return np.log(together / variance("everything", kept))

    n = len(losses["everything"])
    return [
        ratio(f"{name}: batches change the final loss more than initial weights do", more, n, "yes", "no"),
        ratio(f"{name}: variances of batches and initial weights add up to the whole", sum_of_parts, n, "no", "no"),
    ]


def ratio(claim: str, logarithm: Callable[[Any], float], n: int, above: str, below: str) -> Verdict:
    """The verdict on whether a ratio of variances of the same n seeds is above or below 1, by the jackknife of its
    logarithm."""
    if n < 3:
        return Verdict(claim, "no verdict", f"n = {n}; a jackknife needs 3 seeds")
    t = paired_t(pseudo_values(logarithm, n))
    value, low, high = (float(np.exp(end)) for end in (t.mean, t.low, t.high))
    outcome = above if low > 1 else below if high < 1 else "inconclusive"
    return Verdict(claim, outcome, f"ratio of variances {value:.2g} (95 % interval {low:.2g} to {high:.2g}, n = {n})")


def more_alike(arm: Arm, metric: str) -> Verdict:
    """Whether two seeds of this activation have more similar predictions than two seeds of relu."""
    outcome = {"better": "yes", "worse": "no"}.get(arm.verdict, arm.verdict)
    reason = (
        f"{arm.mean:.4f}, difference to relu {arm.difference:+.4f} (95 % interval {arm.low:+.4f} to {arm.high:+.4f}, "
        f"Holm's p {arm.p_adjusted:.2g}, n = {arm.n} networks)"
    )
    return Verdict(f"{arm.activation} is more reproducible than relu, by {METRICS[metric]}", outcome, reason)


def against_itself(sources: pd.DataFrame, repeated: pd.DataFrame, shift: int) -> Comparison:
    """Compare gelu with gelu: each run with the run whose seed is lower by `shift`."""
    plain = sources[(sources["activation"] == "gelu") & sources["init_seed"].isna() & sources["order_seed"].isna()]
    shifted = repeated.assign(seed=repeated["seed"] - shift)
    partners = shifted[shifted["seed"].isin(plain["seed"])]
    return compare(pd.concat([plain.drop(columns=["init_seed", "order_seed"]), partners]), baseline="gelu")


def identical(same: Comparison) -> Verdict:
    """Whether equal seeds have equal losses under another name."""
    (arm,) = same.arms
    other = int(np.count_nonzero(arm.differences))
    size = max(abs(difference) for difference in arm.differences)
    reason = f"{other} of {arm.n} differences are not 0, the largest {size:.2g}"
    return Verdict("A against A with the same seeds: nothing differs", "no" if other else "yes", reason)


def resolves_nothing(other: Comparison) -> Verdict:
    """Whether the rule of comparison finds no difference where there is none."""
    (arm,) = other.arms
    claim = "A against A with other seeds: nothing is resolved"
    if arm.n < 2:
        return Verdict(claim, "no verdict", f"n = {arm.n}")
    reason = (
        f"difference {arm.difference:+.4f} (95 % interval {arm.low:+.4f} to {arm.high:+.4f}, p {arm.p:.2g}, "
        f"n = {arm.n}; by chance one such comparison in 20 is resolved)"
    )
    return Verdict(claim, "yes" if arm.verdict == "inconclusive" else "no", reason)


def tabulated(compared: Comparison) -> pd.DataFrame:
    """One row for the baseline and per arm: metric, n, mean, sd, difference with its interval, p and verdict."""
    rows = []
    for group in (*compared.baselines, *compared.arms):
        about = {"metric": compared.metric, "activation": group.activation, "n": group.n}
        about |= {"mean": group.mean, "sd": group.sd}
        if isinstance(group, Arm):
            about |= {"difference": group.difference, "low": group.low, "high": group.high}
            about |= {"p": group.p, "p_adjusted": group.p_adjusted, "verdict": group.verdict}
        rows.append(about)
    return pd.DataFrame(rows).fillna({"verdict": "baseline"})


def drawn_spreads(spread: pd.DataFrame) -> Figure:
    """The sd of every activation with its interval, for every source."""
    names = list(dict.fromkeys(spread["activation"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.2), layout="constrained")
        axes = figure.subplots()
        for index, name in enumerate(names):
            one = spread[spread["activation"] == name]
            places = np.arange(len(one)) + 0.5 * (index - (len(names) - 1) / 2) / len(names)
            reach = np.abs(one[["low", "high"]].to_numpy().T - one["sd"].to_numpy())
            axes.errorbar(places, one["sd"], yerr=reach, fmt="o", color=colour(name), label=name, markersize=5)
        axes.set(xticks=range(len(SOURCES)), ylabel="sd of the final validation loss", ylim=(0, None))
        axes.set_xticklabels([f"{source} alone" if source != "everything" else source for source in SOURCES])
        axes.legend()
    return figure


def drawn_predictions(alike: Mapping[str, Comparison]) -> Figure:
    """One pair of axes per measure: every activation's pseudo-values, their mean as a diamond, and its interval."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.8), layout="constrained")
        for axes, (metric, found) in zip(figure.subplots(1, len(alike)), alike.items(), strict=True):
            arms = sorted(found.arms, key=lambda arm: arm.difference)
            for height, arm in enumerate(arms):
                style: dict[str, Any] = {"color": colour(arm.activation)}
                spread = height + np.linspace(-0.2, 0.2, arm.n)
                axes.plot(arm.differences, spread, "o", alpha=0.5, markersize=3, **style)
                axes.plot([arm.low, arm.high], [height, height], linewidth=2.2, **style)
                axes.plot(arm.difference, height, "D", markersize=6, **style)
            axes.axvline(0, color=INK, linewidth=1)
            axes.set(xlabel=f"{METRICS[metric]}: difference to relu", ylim=(len(arms) - 0.5, -0.5))
            axes.set_yticks(range(len(arms)), [arm.activation for arm in arms])
    return figure


study = NoiseFloor()
