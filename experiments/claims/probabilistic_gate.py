"""GELU is a probabilistic gate: it does in expectation what a stochastic gate does.

The motivation of the paper (Hendrycks and Gimpel 2016, section 2): an input x is kept with the probability Phi(x) that
a normal variable is below it, x Bernoulli(Phi(x)), which joins nonlinearity and dropout; GELU is the mean. The control
trains with the draws (`soi`, the paper's stochastic 0-I map) and is evaluated with their mean, which is GELU.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.claims.claim import MARGIN, GeluClaim, Grids
from experiments.claims.networks import DECODER, Evidence
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.study import Evaluate
from models.activations.formulas.self_gated import gelu, soi

DRAWS, GROUPS = 200_000, 10
"""Draws of each group of draws."""
POINTS = np.linspace(-3, 3, 25)
CLOSE = 0.005
"""Distance of the mean of draws to x Phi(x) that does not matter, root mean square over the points; QuickGELU is about
0.01 from GELU, and the noise of so many draws is 0.001."""


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """By group of draws, the distance of their mean to x Phi(x), root mean square over the points."""
    x = jnp.broadcast_to(jnp.asarray(POINTS, jnp.float32), (DRAWS, len(POINTS)))
    rows = []
    for group in range(GROUPS):
        apart = soi(jax.random.key(group), x).mean(axis=0) - gelu(x[0])
        rows.append({"group": group, "value": float(jnp.sqrt(jnp.square(apart).mean()))})
    return {"probabilistic_gate_mean": pd.DataFrame(rows)}


def parts(evidence: Evidence) -> list[Part]:
    """The expectation, and training with draws at both rates."""
    mean = evidence.measured["probabilistic_gate_mean"]["value"].to_numpy()
    return [
        Part("loss, trained with draws - gelu, lower rate", evidence.difference("soi"), MARGIN, "same"),
        Part("loss, trained with draws - gelu, higher rate", evidence.difference("soi", rate=1), MARGIN, "same"),
        Part("distance of the mean of draws to x Phi(x)", mean, CLOSE, "same", unit="output"),
    ]


claim = GeluClaim(
    name="probabilistic_gate",
    statement="GELU is a probabilistic gate: training with it is training with x Bernoulli(Phi(x))",
    made="the GELU paper, section 2, and most descriptions of it since",
    control="soi, which draws the gate in training and is evaluated with its mean",
    measured=(
        "the loss of training with draws minus that with GELU; and the distance of the mean of 200,000 draws to "
        "x Phi(x), root mean square over 25 points from -3 to 3, in ten groups"
    ),
    varies="what is measured: the expectation or training",
    arms={DECODER: ("gelu", "soi")},
    parts=parts,
    measure=measure,
)
