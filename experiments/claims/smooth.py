"""GELU is smooth, so it trains better than a function with kinks.

Commonly made in introductions to GELU, which contrast its smooth bend at 0 with the corner of ReLU ("smooth gradients
make optimization easier"). Smoothness is never varied alone there: ReLU differs from GELU in shape, too. The twin here
does vary it alone: it is the straight line between GELU's values at multiples of 1/2 from -4 to 4, never further from
GELU than 0.025, with 17 kinks.
"""

import math

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from experiments.claims.claim import MARGIN, GeluClaim, Grids
from experiments.claims.networks import DECODER, Evidence, among, batch_of, by_seed
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.study import Evaluate
from lab.probes.smoothness import smoothness
from models.activations import Activation, activation

KNOTS = np.linspace(-4, 4, 17)
DISTANCES = (0.02, 0.05, 0.1, 0.2)
"""At which the gradient is taken again; a step of training is about as long as 2 at the peak of the lower rate."""
ROUGHER = np.log(1.1)
"""A change of the effective smoothness that matters: 10 %."""
WINDOWS = 32


def _bends() -> list[tuple[float, float]]:
    """The knots, and by how much the slope rises at each: from 0 on the left to 1 on the right."""
    values = [knot * math.erfc(-knot / math.sqrt(2)) / 2 for knot in KNOTS]
    values[0], values[-1] = 0.0, KNOTS[-1]
    slopes = np.concatenate([[0.0], np.diff(values) / np.diff(KNOTS), [1.0]])
    return [(float(knot), float(bend)) for knot, bend in zip(KNOTS, np.diff(slopes), strict=True)]


BENDS = _bends()


def gelu_linear(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU's values at `KNOTS`, straight lines between them; 0 to the left and x to the right."""
    inside = jnp.zeros_like(x)
    for knot, bend in BENDS:
        inside = inside + bend * jnp.maximum(x - knot, 0)
    return jnp.where(x > KNOTS[-1], x, inside)  # far to the right the rounding errors would add up


TWIN = Activation("gelu_linear", gelu_linear)


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """The effective smoothness of every network at the lower rate."""

    def of_network(cell, run, variables, test):
        batch = batch_of(cell, test, WINDOWS)
        found = smoothness(cell.task, cell.model, variables, batch, DISTANCES)
        return [{"value": float(np.log(found.max()))}]

    names = [activation(name).name for name in claim.arms[DECODER]]
    return {"smooth_beta": evaluate(grids[DECODER], among(*names), of_network)}


def parts(evidence: Evidence) -> list[Part]:
    """Losses at both rates; smoothness of the loss, against the twin and against ReLU."""
    logs = {
        name: by_seed(evidence.measured["smooth_beta"], activation=name) for name in ("gelu", "gelu_linear", "relu")
    }
    rougher = {name: (logs[name] - logs["gelu"]).to_numpy() for name in ("gelu_linear", "relu")}
    losses = [
        Part(f"loss, kinked twin - gelu, {rate} rate", evidence.difference("gelu_linear", rate=place), MARGIN)
        for place, rate in enumerate(("lower", "higher"))
    ]
    return [
        *losses,
        Part("roughness of the loss, kinked twin / gelu", rougher["gelu_linear"], ROUGHER, unit="x"),
        Part("roughness of the loss, relu / gelu", rougher["relu"], ROUGHER, unit="x"),
    ]


claim = GeluClaim(
    name="smooth",
    statement="GELU trains better because it is smooth",
    made="introductions to GELU, which contrast its bend at 0 with ReLU's corner",
    control="gelu_linear, straight lines between GELU's values at multiples of 1/2; relu beside it",
    measured=(
        "the twin's loss minus GELU's; and how fast the gradient turns on the way down, the largest of "
        "||g(w) - g(w - t g/||g||)|| / t over t = 0.02 to 0.2, relative to GELU's (effective smoothness, Santurkar et "
        "al. 2018), in trained decoders at the lower rate on 32 windows of the test text"
    ),
    varies="what is measured",
    arms={DECODER: ("gelu", TWIN, "relu")},
    parts=parts,
    measure=measure,
)
