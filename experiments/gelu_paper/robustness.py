"""Noise robustness (figure 3 of later versions): MNIST classifiers on test images with uniform noise.

Command: ablations study gelu_paper --only robustness --budget short
Cost:    that of the networks of `mnist`, which it needs, plus one minute
Paper:   accuracy and log loss for noise from 0 to 3, without numbers; the digitized version lacks the figure. It claims
         that the robustness of GELU networks matches or exceeds that of ELU and ReLU networks

Unif[-a, a] is added to every pixel of the test images without clipping; the networks are those trained without dropout.
All networks with the same seed see the same noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from experiments.gelu_paper.mnist import NAME as NETWORKS
from experiments.gelu_paper.mnist import Mnist
from experiments.gelu_paper.paper import Evaluate, rates, tuned
from lab.experiment.budget import Budget
from lab.experiment.experiment import Cell, Experiment
from lab.report.figures import STYLE, colour
from lab.report.studies.reproduction import Reproduction, Verdict
from lab.results.excerpts import Excerpt
from lab.statistics.paired import paired_difference
from lab.training.settings import Run

NAME = "gelu_paper_robustness"
STRENGTHS = tuple(float(strength) for strength in np.arange(0, 3.01, 0.25))
AT = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
METRICS = {"accuracy": "test accuracy", "loss": "test log loss"}


@dataclass(frozen=True)
class Robustness:
    """Accuracy and log loss of classifiers against the strength of the noise."""

    tuned_by: Literal["last", "best"] = "last"
    """The median validation loss by which learning rates are chosen, as in figure 2."""

    needs = (NETWORKS, NAME)

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The networks: those of figure 2."""
        return Mnist().experiments(budget)

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Accuracy and loss of every network without dropout at every strength: the columns of curves, and `noise`."""
        return {NAME: evaluate(self.experiments(budget)[0], without_dropout, under_noise)}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Accuracy and log loss against the strength of the noise, and the claim at every nonzero strength."""
        chosen = tuned(excerpts[NETWORKS].rows.query("dropout == 0"), self.tuned_by)
        kept = chosen[["activation", "learning_rate"]].drop_duplicates()
        rows = excerpts[NAME].rows.merge(kept, on=["activation", "learning_rate"])
        rows = rows.assign(activation=rows["activation"].replace("gelu_tanh", "gelu"))
        return Reproduction(
            title="Noise robustness",
            figure=drawn(rows),
            table=tabulated(rows),
            verdicts=tuple(matching(rows, metric, other) for metric in METRICS for other in ("relu", "elu")),
            notes=(
                f"networks of figure 2 without dropout, learning rates {rates(chosen)}",
                "the paper has no numbers for this figure, so only ours are drawn",
                "noise is not clipped; the paper does not mention clipping",
            ),
        )


def without_dropout(cell: Cell, run: Run) -> bool:
    """Whether the figure includes this network."""
    return cell.model.dropout == 0


def under_noise(cell: Cell, run: Run, variables: Any, test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Accuracy and log loss of a network at every strength."""
    means = _means(cell.model, cell.task, variables, dict(test), run.seed)
    return [
        {"noise": strength, "metric": metric, "value": float(means[metric][index])}
        for metric in METRICS
        for index, strength in enumerate(STRENGTHS)
    ]


def noised(
    images: Float[Array, "n height width 1"], strength: Float[Array, ""], seed: Any
) -> Float[Array, "n height width 1"]:
    """The images with noise from Unif[-strength, strength]; stronger noise is the same noise, scaled."""
    return images + strength * jax.random.uniform(jax.random.key(seed), images.shape, minval=-1.0, maxval=1.0)


def tabulated(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per metric, strength and activation: the median over n networks, from `low` to `high`."""
    chosen = rows[rows["noise"].isin(AT)]
    by = chosen.groupby(["metric", "noise", "activation"], sort=False)["value"]
    return by.agg(ours="median", low="min", high="max", n="count").reset_index()


def matching(rows: pd.DataFrame, metric: str, other: str) -> Verdict:
    """Whether GELU matches or exceeds another activation, paired over seeds.

    Compared at every nonzero strength, at a family-wise level of 0.95 (Bonferroni): no, if it is worse at some
    strength; yes, if it is better at some and worse at none; otherwise inconclusive.
    """
    values = rows[(rows["metric"] == metric) & (rows["noise"] > 0)]
    table = values.pivot_table(index="seed", columns=["activation", "noise"], values="value")
    sign = -1 if metric == "accuracy" else 1
    differences = sign * (table["gelu"] - table[other])
    claim = f"GELU matches or exceeds {other}: {METRICS[metric]}"
    if len(differences.dropna()) < 2:
        return Verdict(claim, "no verdict", "fewer than two paired networks")
    level = 1 - 0.05 / differences.shape[1]
    found = {a: paired_difference(column, np.zeros(len(column)), level) for a, column in differences.items()}
    worse = [f"{a:g}" for a, one in found.items() if one.low > 0]
    better = [f"{a:g}" for a, one in found.items() if one.high < 0]
    reason = (
        f"of {len(found)} strengths worse at {', '.join(worse) or 'none'}, better at {', '.join(better) or 'none'} "
        f"(paired t intervals of family-wise level 0.95, n = {len(differences)})"
    )
    return Verdict(claim, "no" if worse else "yes" if better else "inconclusive", reason)


def drawn(rows: pd.DataFrame) -> Figure:
    """Medians against the strength of the noise, with bands over all networks."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.3), layout="constrained")
        for axes, (metric, label) in zip(figure.subplots(1, 2), METRICS.items(), strict=True):
            for name, one in rows[rows["metric"] == metric].groupby("activation", sort=False):
                by = one.groupby("noise")["value"]
                axes.plot(by.median().index, by.median(), color=colour(str(name)), linewidth=1.6, label=name)
                axes.fill_between(by.min().index, by.min(), by.max(), color=colour(str(name)), alpha=0.15, linewidth=0)
            axes.set(xlabel="noise strength", ylabel=label, xlim=(0, 3))
        axes.legend()
    return figure


@partial(jax.jit, static_argnums=(0, 1))
def _means(model: Any, task: Any, variables: Any, test: dict[str, Array], seed: Any) -> dict[str, Array]:
    """Metric -> [strengths], over all test images."""
    batch = {**test, "weight": jnp.ones(len(test["label"]))}
    (images,) = task.inputs(batch)

    def under(strength: Float[Array, ""]) -> dict[str, Array]:
        sums = task.metrics(model.apply(variables, noised(images, strength, seed)), batch)
        return {metric: total / weight for metric, (total, weight) in sums.items()}

    return jax.lax.map(under, jnp.array(STRENGTHS))
