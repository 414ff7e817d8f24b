"""Gradient flow: how do activation, norm and residual stream pass the gradient through the layers of a network?

Command:  ablations study gradient_flow --budget short
Cost:     about 900 s of processor time (short) on an AMD EPYC, 15 minutes of 2 cores that had other work: 220 runs in
          44 cells. Full: not run
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
Short: width 512, 10 layers and 12 draws (1); depths 2, 8, 16 and 48, five seeds, source code in bytes, 100 steps of 8
windows of 32 tokens (2); width 64, 2 layers, 300 steps of 8 windows of 64 tokens, five seeds (3).
Full: width 1,024, 20 layers and 24 draws; depths 2 to 48, width 128, 2,000 steps of 32 windows of 128; English novels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.quickstart import experiment as quickstart
from lab.experiment.budget import Budget
from lab.experiment.cell import Cell
from lab.experiment.experiment import Experiment, Tuning
from lab.experiment.study import Evaluate, Findings
from lab.probes.gradient_flow import chi, layer_gains, negative_inputs, partial_jacobians
from lab.report.networks.gradient_flow import (
    LEVEL,
    NORMAL_BELOW,
    STATES,
    agreement,
    closed_figure,
    fit_figure,
    fits,
    jacobian_figure,
    losses,
    negative_figure,
    negative_table,
    reached,
    shapes,
    with_arm,
)
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.statistics.paired import paired_t
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
BATCH, COTANGENTS = 16, 8
COLUMNS = ["arm", "residual", "n_layers", "seed", "state", "layer", "jacobian"]
"""Of the measured Jacobians."""


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
        512, 10, 12, ACTIVATIONS, (2, 8, 16, 48), 32, (0, 1, 2, 3, 4), CausalLanguage("stdlib", 32),
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
            tuning=Tuning(),
            learning_rates=(quickstart.hyperparameters.learning_rate,),
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
            "jacobians": pd.concat([with_arm(part)[COLUMNS] for part in parts], ignore_index=True),
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
    batch, variables = jax.tree.map(jnp.asarray, (cell.task.batch(test, 0, 0, BATCH), variables))
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


def against_closed_form(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per activation: activation, chi, expected, measured, low, high, n."""
    found = []
    names = list(dict.fromkeys(rows["activation"]))
    for name, one in rows.groupby("activation", sort=False):
        expected = chi(str(name), width=int(one["width"].iloc[0]))
        t = paired_t(one["gain"].to_numpy(), 1 - (1 - LEVEL) / len(names))
        found.append(
            {"activation": name, "chi": chi(str(name)), "expected": expected, "measured": float(t.mean)}
            | {"low": float(t.low), "high": float(t.high), "n": len(one)}
        )
    return pd.DataFrame(found).sort_values("chi", ignore_index=True)


study = GradientFlow()
