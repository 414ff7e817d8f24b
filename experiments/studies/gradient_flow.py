"""Gradient flow: how do activation, norm and residual stream pass the gradient through the layers of a network?

Command:  ablations study gradient_flow --budget short
Cost:     535 s of processor time (short) on an AMD EPYC, 9 minutes of 2 cores that had much other work: 170 runs in 34
          cells. Full: not run
Expected: (1) at initialization the gain of the squared gradient per layer is E f'(z)^2 / E f(z)^2, from 0.15 (sigmoid)
          and 1 (ReLU) to 1.07 (GELU) and 4/3 (squared ReLU); (2) the averaged partial Jacobian norm of pre-norm
          networks with a residual is a power law in depth, that of DyT and Derf exp(sqrt(l / lambda)), and without a
          residual it is exponential (Doshi et al. 2021, arXiv:2111.12143); (3) pre-activations below -4, where GELU's
          slope vanishes, are as rare as in a standard normal distribution (3.2e-5), so that hardly any gradient is lost

(1) Multilayer perceptrons with an RMSNorm before each layer and no residual, measured by vector-Jacobian products, for
the 13 activations below; the first layer, which reads no activation, is left out.
(2) Decoders of width 32, at initialization and trained: LayerNorm before each layer (pre) or after each sum (post), no
norm, DyT and Derf (before each layer), with and without the residual, at several depths. J^{L,l} is the mean square of
the gradient at layer l of a random linear function of layer L. In the deepest networks a power law, log J = a + b
log l, and a stretched exponential, log J = a + b sqrt(l), are fitted to l = 1 to L - 1 by least squares, for each seed;
both have two parameters, so the smaller residual says which fits better. An exponential, a + b l, stands beside them.
(3) Decoders with four activations: what arrives at very negative pre-activations, and what of it is lost.

All measurements are on one batch of the test split, with gradients of random functions or of the loss.
Short: width 512, 10 layers and 12 draws (1); depths 2, 8 and 16, five seeds, the standard library's source in bytes,
100 steps of 8 windows of 32 tokens (2); width 64, 2 layers, 300 steps of 8 windows of 64 tokens, five seeds (3).
Full: width 1,024, 20 layers and 24 draws; depths 2 to 48, width 128, 2,000 steps of 32 windows of 128; English novels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.quickstart import experiment as quickstart
from lab.experiment.budget import Budget
from lab.experiment.cell import Cell
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate, Findings
from lab.probes.gradient_flow import chi, layer_gains, negative_inputs, partial_jacobians
from lab.report.figures import INK, STYLE, colour
from lab.report.reproduction import Verdict
from lab.report.study_page import Section
from lab.results.results import Results
from lab.statistics.paired import PairedT, paired_t
from lab.tasks.language import CausalLanguage
from lab.tasks.task import Stream, stream_key
from lab.training.settings import Run, Settings
from models.activations import activation
from models.mlp import MLP
from models.transformer import Transformer

ACTIVATIONS = (
    "relu", "gelu", "silu", "mish", "tanh", "relu2", "leaky_relu2", "xielu", "golu", "elu", "selu", "softplus",
    "sigmoid",
)  # fmt: skip
LEVEL, MARGIN = 0.95, 0.03
"""Level of the intervals; relative difference from the closed form that does not matter."""
BATCH, COTANGENTS = 16, 8
ARMS = {  # name -> colour
    "pre": "#0077BB", "post": "#EE7733", "none": "#888888", "dyt": "#009988", "derf": "#AA4499",
}  # fmt: skip
PREDICTED = {"pre": "power", "dyt": "stretched", "derf": "stretched"}
SHAPES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "power": ("a power law", np.log),
    "stretched": ("exp(sqrt(l / lambda))", np.sqrt),
    "exponential": ("an exponential", np.asarray),
}
STATES = ("init", "trained")
TOP = 1e4
"""Of the axes of J with a residual."""
NORMAL_BELOW = 3.17e-5
"""P(z < -4) of a standard normal distribution."""


class Size(NamedTuple):
    """What a budget trains and measures."""

    width: int
    layers: int
    draws: int
    activations: tuple[str, ...]
    depths: tuple[int, ...]
    d_model: int
    seeds: tuple[int, ...]
    task: CausalLanguage
    settings: Settings


SIZES: dict[Budget, Size] = {
    "smoke": Size(
        64, 3, 3, ("relu", "tanh"), (2, 4), 16, (0, 1), CausalLanguage("stdlib", 16), Settings(steps=10, batch_size=4)
    ),
    "short": Size(
        512, 10, 12, ACTIVATIONS, (2, 8, 16), 32, (0, 1, 2, 3, 4), CausalLanguage("stdlib", 32),
        Settings(steps=100, batch_size=8),
    ),
    "full": Size(
        1024, 20, 24, ACTIVATIONS, (2, 6, 12, 24, 48), 128, (0, 1, 2, 3, 4), CausalLanguage("eltec_eng", 128),
        Settings(steps=2_000, batch_size=32),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class GradientFlow:
    """The closed form, the partial Jacobians of trained networks, and what very negative inputs cost."""

    name: str = "gradient_flow"
    question: str = "How do activation, norm and residual stream pass the gradient through the layers of a network?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """Networks with a LayerNorm before or after, networks with something else before, and four activations."""
        size = SIZES[budget]
        model = Transformer(
            context=size.task.context,
            d_model=size.d_model,
            n_heads=2,
            positions="rotary",
            bias=False,
            initialization="lecun",
            scan=True,
        )
        layernorm = Experiment(
            name="layernorm",
            question="How far do gradients reach with a LayerNorm before or after each layer?",
            task=size.task,
            model=model,
            activations=("gelu",),
            axes=(
                ("model.placement", ("pre", "post")),
                ("model.residual", ("sequential", "none")),
                ("model.n_layers", size.depths),
            ),
            seeds=size.seeds,
            settings=size.settings,
            learning_rates=(1e-3,),
        )
        pointwise = replace(
            layernorm,
            name="pointwise",
            question="How far do gradients reach without a norm, or with a pointwise function in its place?",
            axes=(("model.norm", ("none", "dyt", "derf")), *layernorm.axes[1:]),
        )
        negative = replace(
            quickstart,
            name="negative_inputs",
            question="How many pre-activations are very negative, and what gradient is lost there?",
            activations=("gelu", "relu") if budget == "smoke" else ("gelu", "relu", "silu", "geglu"),
            tuning=type(quickstart.tuning)(),
            seeds=size.seeds,
            settings=replace(quickstart.settings, steps=20 if budget == "smoke" else 300),
        )
        if budget == "full":
            model = quickstart.model.clone(d_model=size.d_model, n_layers=6, context=size.task.context)
            negative = replace(negative, task=size.task, model=model, settings=size.settings)
        return layernorm, pointwise, negative

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Gains at initialization, Jacobians by layer, and the gradient at very negative inputs."""
        size, (layernorm, pointwise, negative) = SIZES[budget], self.experiments(budget)
        parts = [evaluate(one, _every, jacobians) for one in (layernorm, pointwise)]
        return {
            "gains": pd.DataFrame([row for name in size.activations for row in gains_at_init(name, size)]),
            "jacobians": pd.concat([_with_arm(part) for part in parts], ignore_index=True),
            "negative": evaluate(negative, _every, very_negative),
        }

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The closed form, which shape fits the Jacobians, and what is lost."""
        closed = against_closed_form(measured["gains"])
        fitted = fits(measured["jacobians"])
        lost = negative_table(measured["negative"])
        reach = reached(measured["jacobians"], results)
        return Findings(
            (agreement(closed), *shapes(fitted), *losses(lost)),
            {
                "closed_form": Section(
                    "Gain of the squared gradient per layer, at initialization",
                    closed_figure(closed),
                    closed,
                    (
                        "chi: E f'(z)^2 / E f(z)^2, z ~ N(0, 1); expected: the same at the measured width, to first "
                        f"order in 1/width; bars: t intervals, {LEVEL:.0%} for all activations together (Bonferroni)",
                    ),
                ),
                "jacobians": Section(
                    "Partial Jacobian norms by layer, in the deepest networks",
                    jacobian_figure(measured["jacobians"]),
                    reach,
                    (
                        "lines: geometric means over seeds, bands: lowest to highest seed; with a residual, no norm "
                        "leaves the axes",
                        "across: J of the whole network, from the input of the first layer to the output of the last; "
                        "loss: of validation, in nats per byte; means over seeds, geometric for J",
                    ),
                ),
                "fits": Section(
                    "Power law or stretched exponential?",
                    fit_figure(measured["jacobians"]),
                    fitted,
                    (
                        "ratio: mean over seeds of log10 of the residual sum of squares of the power law over that of "
                        f"the stretched exponential, with its t interval of level {LEVEL:.0%}; below 0 the power law "
                        "fits better. r2: shares of the variance of log J that the fits explain, means over seeds",
                        "exponent: b of the power law; lambda: of the stretched exponential",
                    ),
                ),
                "negative": Section(
                    "Very negative inputs",
                    negative_figure(measured["negative"]),
                    lost,
                    (
                        "share_below: pre-activations (of a gated layer, of the gate) below -4, mean over layers and "
                        f"seeds; lost: share of the squared gradient lost there, with its t interval of level "
                        f"{LEVEL:.0%}; largest: of any layer and seed",
                        f"the line is the share of a standard normal distribution, {NORMAL_BELOW:.1e}",
                    ),
                ),
            },
        )


def _every(cell: Cell, run: Run) -> bool:
    return True


def gains_at_init(name: str, size: Size) -> list[dict[str, Any]]:
    """One row per draw of weights, inputs and cotangents: activation, width, draw, gain (mean over layers)."""
    width = size.width
    model = MLP(
        input_shape=(width,),
        widths=(width,) * size.layers,
        activation=activation(name),
        norm="rmsnorm",
        initialization="lecun",
    )
    init, rows = jax.jit(model.init), []
    for draw in range(size.draws):
        keys = jax.random.split(jax.random.key(draw), 3)
        x = jax.random.normal(keys[0], (BATCH, width))
        gains = layer_gains(model, init(keys[1], x), x, key=keys[2])[1:]  # the first layer reads no activation
        rows.append({"activation": name, "width": width, "draw": draw, "gain": float(gains.mean())})
    return rows


def _states(cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]) -> Any:
    """The batch, and the network's variables before and after training."""
    batch = cell.task.batch(test, 0, 0, BATCH)
    drawn = cell.model.init({"params": stream_key(run.seed, Stream.INIT)}, *cell.task.inputs(batch))
    return batch, dict(zip(STATES, (drawn, variables), strict=True))


def jacobians(
    cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One row per state and layer: state, layer, jacobian."""
    batch, states = _states(cell, run, variables, test)
    measure = partial(partial_jacobians, key=jax.random.key(run.seed), cotangents=COTANGENTS)
    return [
        {"state": state, "layer": layer, "jacobian": float(value)}
        for state, given in states.items()
        for layer, value in enumerate(measure(cell.model, given, *cell.task.inputs(batch)))
    ]


def very_negative(
    cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One row per state and layer: state, and what `negative_inputs` says."""
    batch, states = _states(cell, run, variables, test)
    return [
        {"state": state, **row}
        for state, given in states.items()
        for row in negative_inputs(cell.task, cell.model, given, batch)
    ]


def _with_arm(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with arm (a key of `ARMS`) and residual (yes, no) as columns."""
    arm = rows["placement"] if "placement" in rows else rows["norm"]
    kept = rows[["n_layers", "seed", "state", "layer", "jacobian"]]
    return kept.assign(arm=arm, residual=np.where(rows["residual"] == "none", "no", "yes"))


def against_closed_form(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per activation: activation, chi, expected, measured, low, high, n."""
    found = []
    names = list(dict.fromkeys(rows["activation"]))
    for name, one in rows.groupby("activation", sort=False):
        expected = chi(str(name), width=int(one["width"].iloc[0]))
        t = _t(one["gain"].to_numpy(), 1 - (1 - LEVEL) / len(names))
        found.append(
            {"activation": name, "chi": chi(str(name)), "expected": expected, "measured": float(t.mean)}
            | {"low": float(t.low), "high": float(t.high), "n": len(one)}
        )
    return pd.DataFrame(found).sort_values("chi", ignore_index=True)


def _t(values: np.ndarray, level: float = LEVEL) -> PairedT:
    return paired_t(np.asarray(values, np.float64), level)


def agreement(table: pd.DataFrame) -> Verdict:
    """Whether all measured gains are those of the closed form: "no" if an interval excludes it, "yes" if all intervals
    also lie within the margin."""
    apart = (table["measured"] / table["expected"] - 1).abs()
    outside = (table["low"] > table["expected"]) | (table["high"] < table["expected"])
    far = np.maximum((table["high"] / table["expected"] - 1).abs(), (table["low"] / table["expected"] - 1).abs())
    outcome = "no" if outside.any() else "yes" if (far < MARGIN).all() else "inconclusive"
    row = table.iloc[int(apart.argmax())]
    reason = (
        f"the largest of {len(table)} differences is {row['activation']}'s, {row['measured']:.3f} "
        f"({row['low']:.3f} to {row['high']:.3f}, n = {row['n']}) against {row['expected']:.3f}; {int(outside.sum())} "
        f"simultaneous intervals exclude the closed form, {int((far < MARGIN).sum())} lie within {MARGIN:.0%} of it"
    )
    return Verdict("At initialization the gain per layer is E f'(z)^2 / E f(z)^2", outcome, reason)


def deepest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the deepest networks."""
    return rows[rows["n_layers"] == rows["n_layers"].max()]


def fit(layers: np.ndarray, logs: np.ndarray, shape: str) -> tuple[np.ndarray, float]:
    """Intercept and slope of log J over a transformed layer, and the residual sum of squares."""
    design = np.stack([np.ones(len(layers)), SHAPES[shape][1](layers)], axis=1).astype(float)
    found, *_ = np.linalg.lstsq(design, logs, rcond=None)
    return found, float(np.square(logs - design @ found).sum())


def fits(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per residual, arm and state of the deepest networks: the fits of their Jacobians, over the seeds in which
    these are finite and positive."""
    found = []
    for (residual, arm, state), group in deepest(rows).groupby(["residual", "arm", "state"], sort=False):
        seeds = [_fitted(one) for _, one in group.groupby("seed") if _usable(one)]
        about = {"residual": residual, "arm": arm, "state": state, "n": len(seeds)}
        if len(seeds) < 2:
            found.append(about)
            continue
        table = pd.DataFrame(seeds)
        t = _t(np.log10((table["power"] / table["stretched"]).to_numpy()))
        r2 = {f"r2_{shape}": float((1 - table[shape] / table["total"]).mean()) for shape in SHAPES}
        parts = {"ratio": float(t.mean), "low": float(t.low), "high": float(t.high)}
        means = {name: float(table[name].mean()) for name in ("exponent", "lambda")}
        found.append({**about, **parts, **r2, **means})
    order = list(ARMS)
    return pd.DataFrame(found).sort_values(
        ["state", "residual", "arm"], key=lambda c: c.map(order.index) if c.name == "arm" else c, ignore_index=True
    )


def _usable(one: pd.DataFrame) -> bool:
    values = one["jacobian"].to_numpy()
    return bool(np.isfinite(values).all() and (values > 0).all())


def _inner(one: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Layers 1 to L - 1 of one network, and the logarithms of their Jacobians."""
    inner = one[(one["layer"] > 0) & (one["layer"] < one["n_layers"])].sort_values("layer")
    return inner["layer"].to_numpy(float), np.log(inner["jacobian"].to_numpy())


def _fitted(one: pd.DataFrame) -> dict[str, float]:
    layers, logs = _inner(one)
    whole = {shape: fit(layers, logs, shape) for shape in SHAPES}
    residuals = {shape: max(left, 1e-12) for shape, (_, left) in whole.items()}
    total = max(float(np.square(logs - logs.mean()).sum()), 1e-12)
    return {**residuals, "total": total, "exponent": whole["power"][0][1], "lambda": whole["stretched"][0][1] ** -2}


def shapes(table: pd.DataFrame) -> list[Verdict]:
    """Whether the predicted shape fits better than the other one, with a residual, in either state."""
    found = []
    for state in STATES:
        for arm, shape in PREDICTED.items():
            row = table[(table["residual"] == "yes") & (table["arm"] == arm) & (table["state"] == state)].iloc[0]
            claim = f"{arm}, {state}: {SHAPES[shape][0]} fits the partial Jacobians better"
            if row["n"] < 2:
                found.append(Verdict(claim, "no verdict", f"{row['n']} seeds have finite Jacobians"))
                continue
            sign = 1 if shape == "power" else -1
            low, high = sorted((sign * row["low"], sign * row["high"]))
            outcome = "yes" if high < 0 else "no" if low > 0 else "inconclusive"
            reason = (
                f"log10 of the ratio of residuals, power law to stretched exponential, {row['ratio']:+.2f} "
                f"({row['low']:+.2f} to {row['high']:+.2f}, n = {row['n']}); R2 {row['r2_power']:.3f} and "
                f"{row['r2_stretched']:.3f}, of an exponential {row['r2_exponential']:.3f}"
            )
            found.append(Verdict(claim, outcome, reason))
    return found


def reached(rows: pd.DataFrame, results: Mapping[str, Results]) -> pd.DataFrame:
    """One row per residual, arm and depth: J of the whole network before and after training, and the final loss."""
    whole = rows[rows["layer"] == 0].assign(log=lambda part: np.log(part["jacobian"]))
    keys = ["residual", "arm", "n_layers"]
    across = whole.pivot_table("log", keys, "state", sort=False).apply(np.exp).add_prefix("across_")
    curves = [one.rows for name, one in results.items() if name != "negative_inputs"]
    ends = pd.concat([_final(one) for one in curves])
    return across.join(ends.groupby(keys)["value"].mean().rename("loss")).reset_index()


def _final(rows: pd.DataFrame) -> pd.DataFrame:
    ends = rows[(rows["split"] == "validation") & (rows["metric"] == "loss") & (rows["step"] == rows["step"].max())]
    arm = ends["placement"] if "placement" in ends else ends["norm"]
    residual = np.where(ends["residual"] == "none", "no", "yes")
    return pd.DataFrame({"arm": arm, "residual": residual, "n_layers": ends["n_layers"], "value": ends["value"]})


def negative_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per activation and state: std, share_below, arriving, lost, low, high, largest, n."""
    found = []
    for (name, state), group in rows.groupby(["activation", "state"], sort=False):
        by_seed = group.groupby("seed")[["std", "share_below", "arriving", "lost"]].mean()
        means = {column: float(by_seed[column].mean()) for column in ("std", "share_below", "arriving", "lost")}
        t = _t(by_seed["lost"].to_numpy())
        interval = {"low": float(t.low), "high": float(t.high), "largest": float(group["lost"].max())}
        found.append({"activation": name, "state": state, **means, **interval, "n": len(by_seed)})
    return pd.DataFrame(found)


def losses(table: pd.DataFrame) -> list[Verdict]:
    """Of GELU, trained: whether very negative inputs are as rare as normal ones, and whether they lose under 1 %."""
    row = table[(table["activation"] == "gelu") & (table["state"] == "trained")].iloc[0]
    rare = row["share_below"] <= NORMAL_BELOW
    return [
        Verdict(
            "gelu, trained: pre-activations below -4 are no more frequent than in a standard normal distribution",
            "yes" if rare else "no",
            f"{row['share_below']:.2g} of them, against {NORMAL_BELOW:.2g}; their standard deviation is "
            f"{row['std']:.2f} (means over layers, n = {row['n']})",
        ),
        Verdict(
            "gelu, trained: less than 1 % of the squared gradient is lost below -4",
            "yes" if row["high"] < 0.01 else "no" if row["low"] > 0.01 else "inconclusive",
            f"{row['lost']:.2g} ({row['low']:.2g} to {row['high']:.2g}, n = {row['n']}), at most {row['largest']:.2g} "
            f"in a layer",
        ),
    ]


def closed_figure(table: pd.DataFrame) -> Figure:
    """Measured gains, with intervals, relative to the closed form at the measured width."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.26 * len(table)), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(table.to_dict("records")):
            low, middle, high = (row[name] / row["expected"] for name in ("low", "measured", "high"))
            axes.plot([low, high], [place, place], color=colour(row["activation"]), linewidth=2)
            axes.plot(middle, place, "o", color=colour(row["activation"]), markersize=4)
        wide = table["chi"] / table["expected"]
        axes.plot(wide, range(len(table)), "|", color=INK, markersize=13, label="closed form of infinite width")
        axes.axvline(1, color=INK, linewidth=0.8)
        labels = [f"{name} {value:.3f}" for name, value in zip(table["activation"], table["expected"], strict=True)]
        axes.set_yticks(range(len(table)), labels)
        axes.set(xlabel="measured gain / closed form of this width, which is beside the name")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right")
    return figure


def jacobian_figure(rows: pd.DataFrame) -> Figure:
    """J by layer: with and without a residual, before and after training."""
    deep = deepest(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.0), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True)
        for line, residual in zip(panels, ("yes", "no"), strict=True):
            for axes, state in zip(line, STATES, strict=True):
                part = deep[(deep["residual"] == residual) & (deep["state"] == state)]
                for arm, one in part.groupby("arm", sort=False):
                    _curve(axes, one, str(arm))
                words = "with" if residual == "yes" else "without"
                axes.set(title=f"{words} a residual, {state}", yscale="log")
                if residual == "yes":
                    axes.set_ylim(top=TOP)
        for axes in panels[1]:
            axes.set_xlabel("layer l")
        for axes in panels[:, 0]:
            axes.set_ylabel("$J^{L,l}$")
        panels[0, 0].legend()
    return figure


def _curve(axes: Any, one: pd.DataFrame, arm: str) -> None:
    wide = one.pivot_table("jacobian", "layer", "seed")
    wide = wide.where(wide > 0)
    axes.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=ARMS[arm], alpha=0.2, linewidth=0)
    axes.plot(wide.index, np.exp(np.log(wide).mean(axis=1)), color=ARMS[arm], label=arm)


def fit_figure(rows: pd.DataFrame) -> Figure:
    """J of the arms with a prediction, with a residual, over log l: a power law is a line; both fits beside it."""
    deep = deepest(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        panels = figure.subplots(2, len(PREDICTED), sharex=True, squeeze=False)
        for line, state in zip(panels, STATES, strict=True):
            for axes, arm in zip(line, PREDICTED, strict=True):
                one = deep[(deep["residual"] == "yes") & (deep["state"] == state) & (deep["arm"] == arm)]
                mean = one.groupby(["n_layers", "layer"])["jacobian"].agg(lambda values: np.exp(np.log(values).mean()))
                layers, logs = _inner(mean.reset_index())
                axes.plot(layers, np.exp(logs), "o", color=ARMS[arm], markersize=3, label=f"{arm}, {state}")
                for shape, dashes in (("power", "solid"), ("stretched", "dashed")):
                    (start, slope), _ = fit(layers, logs, shape)
                    line_of = np.exp(start + slope * SHAPES[shape][1](layers))
                    axes.plot(layers, line_of, color=INK, linestyle=dashes, linewidth=0.9, label=SHAPES[shape][0])
                axes.set(xscale="log", yscale="log")
                axes.legend(fontsize=7)
        for axes in panels[1]:
            axes.set_xlabel("layer l")
        for axes in panels[:, 0]:
            axes.set_ylabel("$J^{L,l}$")
    return figure


def negative_figure(rows: pd.DataFrame) -> Figure:
    """Shares below -4, and shares of the gradient lost, of every layer and seed, before and after training."""
    names = list(dict.fromkeys(rows["activation"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        for axes, column in ((left, "share_below"), (right, "lost")):
            for state, marker, shift in (("init", "o", -0.15), ("trained", "^", 0.15)):
                part = rows[rows["state"] == state]
                places = [names.index(name) + shift for name in part["activation"]]
                colours = [colour(name) for name in part["activation"]]
                axes.scatter(places, part[column], c=colours, marker=marker, s=18, alpha=0.7, label=state)
            axes.set_yscale("symlog", linthresh=1e-6)
            axes.set_xticks(range(len(names)), names)
        left.axhline(NORMAL_BELOW, color=INK, linewidth=0.8, linestyle="dotted")
        left.set(title="share of pre-activations below -4")
        right.set(title="share of the squared gradient lost there")
        figure.legend(*left.get_legend_handles_labels(), loc="outside right upper")
    return figure


study = GradientFlow()
