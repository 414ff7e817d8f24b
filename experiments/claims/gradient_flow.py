"""GELU lets gradients flow better than ReLU.

Commonly made as "prevents vanishing gradients". In closed form a wide layer that reads normalized values, without a
residual, multiplies the squared gradient by chi = E f'(z)^2 / E f(z)^2, z ~ normal(0, 1): 1 for ReLU, 1.072 for GELU.
The claim has two parts at initialization, that this is so and that it is more than ReLU's, and two in trained networks.
"""

from functools import partial

import jax
import numpy as np
import pandas as pd

from experiments.claims.claim import GeluClaim, Grids
from experiments.claims.networks import DECODER, PERCEPTRON, STATES, WORDS, Evidence, among, batch_of, by_seed, states
from experiments.studies.gradient_flow import SIZES, gains_at_init
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.study import Evaluate
from lab.probes.gradient_flow import chi, layer_gains

NAMES = ("gelu", "relu")
MATTERS = np.log(1.02)
"""Of a gain per layer: 2 % are a factor of 1.5 in the squared gradient over 20 layers."""
CLOSE = np.log(1.03)
"""Of a measured gain to the closed form, as in the study gradient_flow."""
EXAMPLES = {DECODER: 16, PERCEPTRON: 256}


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """Gains without residual at initialization, and those of the layers of decoders and MLPs, in both states."""

    def of_network(grid, cell, run, variables, test):
        batch = batch_of(cell, test, EXAMPLES[grid])
        rows = []
        for state, given in states(cell, run, variables, batch).items():
            key = jax.random.key(run.seed)
            gains = layer_gains(cell.model, given, *cell.task.inputs(batch), key=key, cotangents=4)
            first = 1 if grid == PERCEPTRON else 0  # of an MLP the first layer reads no activation
            rows += [
                {"state": state, "layer": layer, "value": float(np.log(gain))}
                for layer, gain in enumerate(gains)
                if layer >= first
            ]
        return rows

    init = pd.DataFrame([row for name in NAMES for row in gains_at_init(name, SIZES[budget])])
    found = [
        evaluate(grids[grid], among(*NAMES), partial(of_network, grid)).assign(grid=grid)
        for grid in (DECODER, PERCEPTRON)
    ]
    return {"gradient_flow_init": init, "gradient_flow_layers": pd.concat(found, ignore_index=True)}


def parts(evidence: Evidence) -> list[Part]:
    """The closed form, and GELU's gain over ReLU's at initialization and trained."""
    init = {name: by_draw(evidence.measured["gradient_flow_init"], name) for name in NAMES}
    width = int(evidence.measured["gradient_flow_init"]["width"].iloc[0])
    expected = np.log(chi("gelu", width=width))
    layers = evidence.measured["gradient_flow_layers"]
    found = [
        Part("gain per layer, no residual, init, gelu / relu", init["gelu"] - init["relu"], MATTERS, unit="x"),
        Part("the same, gelu / closed form", init["gelu"] - expected, CLOSE, "same", unit="x"),
    ]
    for grid in (PERCEPTRON, DECODER):
        gelu, relu = (by_seed(layers, grid=grid, state="trained", activation=name) for name in NAMES)
        found.append(Part(f"trained {WORDS[grid]}, gelu / relu", (gelu - relu).to_numpy(), MATTERS, unit="x"))
    return found


def by_draw(rows: pd.DataFrame, name: str) -> np.ndarray:
    """The logarithms of an activation's gains, in the order of the draws."""
    return np.log(rows[rows["activation"] == name].sort_values("draw")["gain"].to_numpy())


def details(evidence: Evidence) -> pd.DataFrame:
    """Geometric means over layers and seeds of the gains in both states."""
    rows = evidence.measured["gradient_flow_layers"]
    wide = rows.pivot_table("value", ["grid", "activation"], "state", sort=False).apply(np.exp)
    closed = {name: chi(name) for name in NAMES}
    table = wide[list(STATES)].reset_index().rename_axis(columns=None)
    return table.assign(closed_form=table["activation"].map(closed))


claim = GeluClaim(
    name="gradient_flow",
    statement="GELU passes more of the gradient through the layers than ReLU",
    made="introductions to GELU: it is said to prevent vanishing gradients",
    control="relu, and the closed form chi",
    measured=(
        "the gain of the squared gradient per layer, by vector-Jacobian products: of wide MLPs with RMSNorm and no "
        "residual at initialization, of trained MLPs without norm, of the blocks of trained decoders; geometric means "
        "over layers. closed form: of infinite width, no residual; init and trained: means of the networks here"
    ),
    varies="the network",
    arms={DECODER: NAMES, PERCEPTRON: NAMES},
    parts=parts,
    measure=measure,
    details=details,
)
