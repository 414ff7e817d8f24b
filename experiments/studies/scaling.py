"""Does an activation that saves compute in a small network still do so in a larger one?

Command:  ablations study scaling --budget short
Cost:     840 s of processor time (short) on an AMD EPYC, 9 minutes of 2 cores; about 20 on a Xeon of 2.5 GHz: 65 runs
          of 307,200 tokens per size and 50 programs. Full: 275 runs, computed 1.2e19 FLOPs, a day and a half on a GPU
          that sustains 1e14 FLOP/s (not measured)
Expected: gated units and squared ReLU need less compute than GELU, ReLU more (Shazeer 2020, So et al. 2021), by factors
          between 0.8 and 1.5; studies of one size leave open whether a factor changes with size. Narang et al. (2021)
          found that few changes to the Transformer keep their gain in other settings

Loss against parameters and FLOPs of one decoder in several sizes, and for each activation a power law

    loss = a + b x^-c,    x: parameters without embeddings, or the FLOPs of training

with a limit `a` shared by all activations, since five sizes cannot separate limit and exponent, and the irreducible
loss belongs to the text. The compute-equivalent gain of an activation at a size is the factor of FLOPs that GELU needs
to reach its loss, by GELU's law: the FLOPs at which the law has that loss, divided by those at which it has GELU's loss
at this size, divided by the ratio of the FLOPs spent. Beyond GELU's largest network, the law extrapolates.

Intervals are t intervals over seeds, of jackknife pseudo-values of the logarithm; percentiles of a few resampled seeds
would cover too little. They include the choice of the learning rates, which is repeated; they cover the uncertainty
from seeds and choice, not whether a power law is right. Exponents have no interval, as it would cover too little.

Every activation has at every size the best of three learning rates (short: four, of which the largest was added after
the small networks had chosen the largest of three) by two separate seeds. Smoke: gelu and swiglu, 3 sizes, 3 seeds,
one rate. Short: relu, gelu, swiglu, geglu and relu2; seeds 0 to 4; five sizes of 3,000 to 98,000 parameters, 600 steps
of 8 windows of 64 bytes: every size reads the same 307,200 tokens, so the law is one of size alone. Full: five sizes of
0.8 to 38 million parameters, 20 tokens (bytes of books) per parameter, which Hoffmann et al. (2022) found optimal, so
that x follows the compute frontier.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.quickstart import experiment as quickstart
from lab.comparison import tuning
from lab.comparison.outcomes import outcomes
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment, Tuning
from lab.experiment.study import Evaluate, Findings
from lab.report.figures import INK, STYLE, line_styles
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.statistics.choice import excess, with_choice
from lab.statistics.curves.power_laws import PowerLaws, power_laws
from lab.statistics.jackknife import pseudo_values
from lab.statistics.paired import holm, paired_t
from lab.statistics.resampling import Estimate
from lab.tasks.language import CausalLanguage
from lab.training.settings import Settings

BASELINE = "gelu"
LEVEL = 0.95
CHOICES = 100  # draws of a repeated choice of the learning rates
ACTIVATIONS = ("relu", "gelu", "swiglu", "geglu", "relu2")
TRAINING = 3
"""FLOPs of a training step relative to its forward pass: the backward pass has two products for each one."""


class Size(NamedTuple):
    """A network and the length of its training."""

    d_model: int
    n_layers: int
    n_heads: int
    steps: int


SIZES: dict[Budget, tuple[Size, ...]] = {
    "smoke": (Size(8, 1, 1, 40), Size(16, 1, 1, 40), Size(32, 1, 2, 40)),
    "short": (
        *(Size(16, 1, 2, 600), Size(24, 2, 2, 600), Size(32, 2, 2, 600), Size(48, 2, 3, 600), Size(64, 2, 4, 600)),
    ),
    "full": (
        *(Size(128, 4, 4, 480), Size(192, 6, 6, 1620), Size(256, 8, 8, 3840), Size(384, 10, 6, 10_800)),
        Size(512, 12, 8, 23_040),
    ),
}
TASKS: dict[Budget, CausalLanguage] = {
    "smoke": CausalLanguage(data="stdlib", context=32, evaluation_windows=16),
    "short": CausalLanguage(data="stdlib", context=64, evaluation_windows=256),
    "full": CausalLanguage(data="pg19", context=512, evaluation_windows=1024),
}
BATCH: dict[Budget, int] = {"smoke": 8, "short": 8, "full": 64}
SEEDS: dict[Budget, int] = {"smoke": 3, "short": 5, "full": 5}
RATES: dict[Budget, tuple[float, ...]] = {"smoke": (), "short": (2e-3, 6e-3, 2e-2, 6e-2), "full": (3e-4, 1e-3, 3e-3)}


@dataclass(frozen=True)
class Scaling:
    """One experiment per size: the activations at equal parameter count."""

    name: str = "scaling"
    question: str = "How many times the compute does GELU need to be as good, and does that change with size?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The sizes, smallest first."""
        return tuple(self._experiment(budget, size) for size in SIZES[budget])

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The laws, the gain of every activation at every size, and whether it changes with size."""
        sized = {name.rpartition("-")[2]: found for name, found in results.items()}
        grid = measure(sized)
        gains = table_of_gains(grid)
        return Findings(
            verdicts=(*savings(grid), *trends(grid)),
            sections={
                "gains": Section(
                    f"Compute-equivalent gain over {BASELINE}",
                    draw(grid, gains),
                    gains,
                    (
                        f"gain: how many times its FLOPs {BASELINE} needs to be as good; above 1 the activation saves "
                        "compute",
                        "intervals are uncorrected t intervals over seeds; empty with fewer than 3 seeds",
                        f"a hollow mark lies beyond {BASELINE}'s largest network: its law extrapolates",
                    ),
                ),
                "laws": Section(
                    "Power laws",
                    table=table_of_laws(grid),
                    notes=("one limit for all activations, in nats per byte", *edges(sized)),
                ),
            },
        )

    def _experiment(self, budget: Budget, size: Size) -> Experiment:
        task, rates = TASKS[budget], RATES[budget]
        shape = {"d_model": size.d_model, "n_layers": size.n_layers, "n_heads": size.n_heads}
        return Experiment(
            name=f"{self.name}-d{size.d_model}",
            question=f"Which activation is best in a decoder {size.d_model} wide with {size.n_layers} layers?",
            task=task,
            model=replace(quickstart.model, context=task.context, **shape),
            activations=("gelu", "swiglu") if budget == "smoke" else ACTIVATIONS,
            baseline=BASELINE,
            seeds=tuple(range(SEEDS[budget])),
            learning_rates=() if rates else (6e-3,),
            tuning=Tuning(rates),
            settings=Settings(steps=size.steps, batch_size=BATCH[budget]),
        )


class Grid(NamedTuple):
    """Measurements: losses of all seeds, parameters without embeddings, and training FLOPs of a network.

    `excess` is the possible cost of the chosen learning rates, in draws of a repeated choice; empty without tuning.
    """

    activations: tuple[str, ...]
    sizes: tuple[str, ...]
    losses: Float[np.ndarray, "activations sizes seeds"]
    parameters: Float[np.ndarray, "activations sizes"]
    flops: Float[np.ndarray, "activations sizes"]
    excess: Float[np.ndarray, "draws activations sizes"]

    @property
    def seeds(self) -> int:
        """Number of seeds per size."""
        return self.losses.shape[2]

    @property
    def baseline(self) -> int:
        """Index of the baseline among the activations."""
        return self.activations.index(BASELINE)

    @property
    def others(self) -> list[str]:
        """All activations but the baseline."""
        return [name for name in self.activations if name != BASELINE]


def measure(results: Mapping[str, Results]) -> Grid:
    """The grid of the results of all sizes, over the seeds that all of them have."""
    losses, parameters, flops = [], [], []
    for found in results.values():
        ends = outcomes(found.rows, "loss", "validation", int(found.experiment["steps"]))
        losses.append(ends.pivot_table(index="activation", columns="seed", values="value"))
        cells = {cell["activation"]: cell for cell in found.cells}
        costs = {name: cell["cost"] for name, cell in cells.items()}
        parameters.append({name: cost["parameters"] - cost["embedding_parameters"] for name, cost in costs.items()})
        flops.append({name: TRAINING * cost["flops_per_token"] * tokens(cells[name]) for name, cost in costs.items()})
    names = list(dict.fromkeys(next(iter(results.values())).rows["activation"]))
    repeated = [_excess(found.tuning, names) for found in results.values() if found.tuning is not None]
    seeds = pd.concat(losses).dropna(axis="columns").columns
    return Grid(
        tuple(names),
        tuple(results),
        np.stack([table.loc[names, seeds].to_numpy() for table in losses], axis=1),
        pd.DataFrame(parameters)[names].to_numpy(dtype=float).T,
        pd.DataFrame(flops)[names].to_numpy(dtype=float).T,
        np.stack(repeated, axis=2) if len(repeated) == len(results) else np.empty((0, len(names), len(results))),
    )


def _excess(found: Results, names: list[str]) -> Float[np.ndarray, "draws activations"]:
    """The excess for one size, from its tuning runs."""
    ends = outcomes(found.rows, "loss", "validation", int(found.experiment["steps"]), ["learning_rate"])
    ends.loc[ends["diverged"], "value"] = np.nan
    losses = ends.pivot_table("value", ["activation", "learning_rate"], "seed", dropna=False)
    return excess(np.stack([losses.loc[name].to_numpy() for name in names]), CHOICES)


def tokens(cell: Mapping) -> int:
    """Number of training tokens per run of a cell."""
    return cell["settings"]["steps"] * cell["settings"]["batch_size"] * cell["task"]["context"]


def log_gains(grid: Grid) -> Float[np.ndarray, "activations sizes"]:
    """Logarithm of the compute-equivalent gain, by the mean losses; that of the baseline is 0.

    nan if the baseline's loss does not decrease with size, as no size is then as good.
    """
    means, base = grid.losses.mean(axis=2), grid.baseline
    laws = power_laws(grid.flops, means)
    if not laws.exponent[base] > 0:
        return np.full(means.shape, np.nan)
    relative = np.log(laws.size(base, means)) - np.log(grid.flops)
    return relative - relative[base]


def log_gain(grid: Grid, arm: int, size: int) -> float:
    """The log gain of an arm at a size."""
    return float(log_gains(grid)[arm, size])


def mean_log_gain(grid: Grid, arm: int) -> float:
    """The mean log gain of an arm over sizes."""
    return float(log_gains(grid)[arm].mean())


def log_gain_a_decade(grid: Grid, arm: int) -> float:
    """Slope of an arm's logarithm of gains against the decimal logarithm of the baseline's FLOPs."""
    x = np.log10(grid.flops[grid.baseline])
    x = x - x.mean()
    return float(x @ log_gains(grid)[arm] / (x @ x))


def over_seeds(grid: Grid, statistic: Callable[..., float], *which: Any) -> tuple[Estimate, float]:
    """statistic(grid, *which) with its t interval, that of its pseudo-values over seeds, and p of it being 0.

    Both include the choice of the learning rates: the change of the statistic when the cost of a repeated choice is
    subtracted from the losses. With fewer than 3 seeds, or if it is nan, the interval is infinite and p is nan.
    """

    def of_seeds(kept: Int[np.ndarray, " seeds"]) -> float:
        return statistic(grid._replace(losses=grid.losses[:, :, kept]), *which)

    value = np.asarray(statistic(grid, *which))
    if grid.seeds < 3 or not np.isfinite(values := pseudo_values(of_seeds, grid.seeds)).all():
        return Estimate(value, np.asarray(-np.inf), np.asarray(np.inf)), float("nan")
    moved = [statistic(grid._replace(losses=grid.losses - cost[:, :, None]), *which) - value for cost in grid.excess]
    se_choice = np.sqrt(np.mean(np.square(moved))) if moved else 0.0
    t = paired_t(values, LEVEL)
    found = with_choice(t.mean, t.sd / np.sqrt(grid.seeds), grid.seeds - 1, np.asarray(se_choice), LEVEL)
    return Estimate(value, found.low, found.high), float(found.p_value)


def table_of_gains(grid: Grid) -> pd.DataFrame:
    """One row per activation and size: n, parameters, FLOPs, loss, sd, gain with low and high, extrapolated."""
    rows = []
    for (k, name), (s, size) in itertools.product(enumerate(grid.activations), enumerate(grid.sizes)):
        found, _ = over_seeds(grid, log_gain, k, s)
        gain, low, high = (float(np.exp(end)) for end in found)
        flops, losses = grid.flops[k, s], grid.losses[k, s]
        rows.append(
            {
                **{"activation": name, "size": size, "n": grid.seeds, "parameters": int(grid.parameters[k, s])},
                **{"FLOPs": flops, "loss": losses.mean(), "sd": losses.std(ddof=1) if grid.seeds > 1 else np.nan},
                **{"gain": gain, "low": low if low > 0 else np.nan, "high": high if high < np.inf else np.nan},
                "extrapolated": bool(gain * flops > grid.flops[grid.baseline].max()),
            }
        )
    return pd.DataFrame(rows)


def table_of_laws(grid: Grid) -> pd.DataFrame:
    """One row per activation and x: limit, factor and exponent, without intervals, which cover too little."""
    rows = []
    for x, (k, name) in itertools.product(("parameters", "flops"), enumerate(grid.activations)):
        laws = power_laws(getattr(grid, x), grid.losses.mean(axis=2))
        law = {"limit": laws.limit, "factor": laws.factor[k], "exponent": laws.exponent[k]}
        rows.append({"activation": name, "x": x, **law})
    return pd.DataFrame(rows)


def savings(grid: Grid) -> list[Verdict]:
    """Whether each activation saves compute, by the geometric mean of its gain over sizes."""
    per_size = dict(zip(grid.activations, np.exp(log_gains(grid)), strict=True))
    return [
        Verdict(
            f"{name} saves compute compared with {BASELINE}",
            outcome(found, p, "yes", "no"),
            f"gain {factor(found)}, geometric mean of {len(grid.sizes)} sizes, n = {grid.seeds}; "
            + ", ".join(f"{size} ×{gain:.2f}" for size, gain in zip(grid.sizes, per_size[name], strict=True)),
        )
        for name, (found, p) in by_arm(grid, mean_log_gain).items()
    ]


def trends(grid: Grid) -> list[Verdict]:
    """Whether the gain of each activation changes with size."""
    span = np.ptp(np.log10(grid.flops[grid.baseline]))
    return [
        Verdict(
            f"The gain of {name} changes with size",
            outcome(found, p, "yes, grows", "yes, shrinks"),
            f"ten times the FLOPs change it by {factor(found)}, n = {grid.seeds}; the sizes span {span:.1f} decades",
        )
        for name, (found, p) in by_arm(grid, log_gain_a_decade).items()
    ]


def by_arm(grid: Grid, statistic: Callable[[Grid, int], float]) -> dict[str, tuple[Estimate, float]]:
    """A statistic of each activation but the baseline, with Holm's p over them."""
    found = {name: over_seeds(grid, statistic, grid.activations.index(name)) for name in grid.others}
    adjusted = holm([p for _, p in found.values()])
    return {name: (estimate, float(p)) for (name, (estimate, _)), p in zip(found.items(), adjusted, strict=True)}


def outcome(found: Estimate, p: float, above: str, below: str) -> str:
    """The verdict for a logarithm and its adjusted p."""
    if np.isnan(p):
        return "no verdict"
    if p >= 1 - LEVEL:
        return "inconclusive"
    return above if found.value > 0 else below


def factor(found: Estimate) -> str:
    """A logarithm and its interval as factors, in words."""
    value, low, high = (float(np.exp(end)) for end in found)
    unbounded = not 0 < low < high < np.inf
    return f"×{value:.3f}" + ("" if unbounded else f" (95 % interval ×{low:.3f} to ×{high:.3f})")


def edges(results: Mapping[str, Results]) -> list[str]:
    """Notes on arms whose best learning rate may lie beyond the grid."""
    return [
        f"{size}, {warning}"
        for size, found in results.items()
        if found.tuning is not None
        for warning in tuning.warnings(tuning.tuned(found.tuning))
    ]


def draw(grid: Grid, gains: pd.DataFrame) -> Figure:
    """Loss against parameters and against FLOPs with the laws, and the gain at every size with its interval."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.6), layout="constrained")
        panels = figure.subplot_mosaic([["parameters", "flops"], ["gain", "gain"]])
        for name, x in (("parameters", grid.parameters), ("flops", grid.flops)):
            _laws(panels[name], grid, x)
            panels[name].set_ylabel("validation loss (nats)")
        panels["parameters"].set_xlabel("parameters without embeddings")
        panels["flops"].set_xlabel("FLOPs of training")
        _gains(panels["gain"], grid, gains)
        for axes in panels.values():
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter(NullFormatter())  # a short axis has room for few
        figure.legend(*panels["flops"].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def _laws(axes: Axes, grid: Grid, x: Float[np.ndarray, "activations sizes"]) -> None:
    means = grid.losses.mean(axis=2)
    laws: PowerLaws = power_laws(x, means)
    between = np.geomspace(x.min(axis=1), x.max(axis=1), 50, axis=1)
    for k, (name, style) in enumerate(line_styles(list(grid.activations)).items()):
        axes.plot(between[k], laws.at(between)[k], label=name, **style)
        axes.plot(x[k], means[k], "o", color=style["color"], markersize=4)


def _gains(axes: Axes, grid: Grid, gains: pd.DataFrame) -> None:
    """The gains side by side at the FLOPs of the size, so that their intervals do not overlap."""
    axes.axhline(1, color=INK, linewidth=1)
    for k, name in enumerate(grid.others):
        rows, style = gains[gains["activation"] == name], line_styles(list(grid.activations))[name]
        x = grid.flops[grid.baseline] * 1.04 ** (k - (len(grid.others) - 1) / 2)
        axes.plot(x, rows["gain"], alpha=0.5, **style)
        axes.vlines(x, rows["low"], rows["high"], color=style["color"], linewidth=1.5)
        face = np.where(rows["extrapolated"], "none", style["color"])
        axes.scatter(x, rows["gain"], s=22, facecolors=face, edgecolors=style["color"], zorder=3)
    axes.set(xlabel="FLOPs of training", ylabel=f"gain over {BASELINE}")


study = Scaling()
