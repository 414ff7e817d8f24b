"""Figure 1: GELU, ReLU and ELU; the normal CDF against the sigmoid (figure 7); the approximations and derivatives.

Command: ablations study gelu_paper --only definitions
Cost:    seconds
Paper:   largest errors, which follow from the definitions: 0.000473 for the tanh approximation, 0.020335 for
         x * sigmoid(1.702 x); the paper says of the sigmoid that it is within about 0.1 of the CDF

The functions drawn and measured are those of `models.activations`, with derivatives by JAX.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.gelu_paper.paper import Evaluate
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.report.figures import STYLE, colour
from lab.report.studies.reproduction import Reproduction, Verdict
from lab.results.excerpts import Excerpt
from models.activations import activation

X = np.linspace(-10, 10, 200_001, dtype=np.float32)
FIGURE = ("gelu", "relu", "elu")
APPROXIMATIONS = ("gelu_tanh", "gelu_quick")
CDF, SIGMOID = "normal CDF", "sigmoid"
EXACT = {
    "largest error of gelu_tanh": 0.000473,
    "largest error of gelu_quick": 0.020335,
    "largest error of the sigmoid to the normal CDF": 0.1174,
    "least gelu": -0.169971,
    "largest derivative of gelu": 1.128904,
    "least derivative of gelu": -0.128904,
}
"""Values that follow from the definitions, computed with many digits."""
TOLERANCE = 1e-6  # f32 rounds values near 1 to 6e-8, and steps of 1e-4 miss an extremum by 1e-9


@dataclass(frozen=True)
class Definitions:
    """Figure 1, figure 7, and the derivatives."""

    needs = ()

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """No experiment."""
        return ()

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing is measured on networks."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """The functions, their approximations' errors, their first and second derivatives; the extrema in a table."""
        found = extrema()
        table = pd.DataFrame([{"quantity": name, "exact": EXACT[name], "ours": found[name]} for name in EXACT])
        digits = {name: 5e-5 if name.endswith("CDF") else 5e-7 for name in EXACT}
        wrong = [name for name in EXACT if abs(found[name] - EXACT[name]) > TOLERANCE + digits[name]]
        outcome = "not reproduced" if wrong else "reproduced"
        reason = f"differs: {', '.join(wrong)}" if wrong else "every extremum agrees to the given digits"
        return Reproduction(
            title="Definitions",
            figure=drawn(),
            table=table.assign(difference=table["ours"] - table["exact"]),
            verdicts=(Verdict("extrema of GELU and errors of its approximations", outcome, reason),),
        )


def extrema() -> dict[str, float]:
    """The quantities of `EXACT` for our functions, in f32 on a grid with steps of 1e-4."""
    gelu, slope = values(function("gelu")), values(derivative("gelu"))
    cdf, sigmoid = (values(bells()[name]) for name in (CDF, SIGMOID))
    return {
        **{f"largest error of {name}": float(np.abs(values(function(name)) - gelu).max()) for name in APPROXIMATIONS},
        "largest error of the sigmoid to the normal CDF": float(np.abs(sigmoid - cdf).max()),
        "least gelu": float(gelu.min()),
        "largest derivative of gelu": float(slope.max()),
        "least derivative of gelu": float(slope.min()),
    }


def function(name: str) -> Callable[[Any], Any]:
    """An activation as a function of one number, without learned parameters."""
    return lambda x: activation(name)(x)


def derivative(name: str, order: int = 1) -> Callable[[Any], Any]:
    """Its derivative of the given order."""
    found = function(name)
    for _ in range(order):
        found = jax.grad(found)
    return found


def bells() -> dict[str, Callable[[Any], Any]]:
    """The gates of GELU and SiLU, which multiply x."""
    return {CDF: jax.scipy.stats.norm.cdf, SIGMOID: jax.nn.sigmoid}


def values(f: Callable[[Any], Any], x: np.ndarray = X) -> np.ndarray:
    """The values of a scalar function on an array."""
    return np.asarray(jax.jit(jax.vmap(f))(jnp.asarray(x)))


def drawn() -> Figure:
    """Functions, gates, errors of the approximations; first and second derivatives, the approximations close."""
    x = np.linspace(-4, 4, 801, dtype=np.float32)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        (functions, gates, errors), (first, second, close) = figure.subplots(2, 3)
        for name in FIGURE:
            style: dict[str, Any] = {"color": colour(name), "linewidth": 1.6, "label": name}
            functions.plot(x, values(function(name), x), **style)
            first.plot(x, values(derivative(name), x), **style)
            second.plot(x, values(derivative(name, 2), x), **style)
        for name, f in bells().items():
            gates.plot(x, values(f, x), color=colour("gelu" if name == CDF else "silu"), linewidth=1.6, label=name)
        for name in ("gelu", *APPROXIMATIONS):
            style = {"color": colour(name), "linewidth": 1.6, "label": name}
            close.plot(x, values(function(name), x), **style)
            if name != "gelu":
                errors.plot(x, np.abs(values(function(name), x) - values(function("gelu"), x)) + 1e-9, **style)
        functions.set(title="functions", ylim=(-1.2, 3), xlim=(-4, 3))
        gates.set(title="gates")
        errors.set(title="errors of the approximations", yscale="log", ylim=(1e-6, 0.1))
        first.set(title="first derivatives")
        second.set(title="second derivatives")
        close.set(title="approximations, close", xlim=(-4, 0), ylim=(-0.2, 0.02))
        for axes in (functions, gates, errors, first, second, close):
            axes.legend(fontsize=7.5)
            axes.set_xlabel("x")
    return figure
