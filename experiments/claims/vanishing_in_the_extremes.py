"""GELU's gradient vanishes for very negative inputs.

Commonly made as its disadvantage. In closed form GELU'(z) = Phi(z) + z phi(z), which is -5.0e-4 at -4 and falls in
size as |z| phi(z) beyond. That is one part. Whether training suffers is another: the share of the squared gradient that
arrives at pre-activations below -4 and is lost there. Of standard normal ones 3.2e-5 are below -4.
"""

import math

import numpy as np
import pandas as pd

from experiments.claims.claim import GeluClaim, Grids
from experiments.claims.networks import DECODER, Evidence, among, batch_of, by_seed
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.study import Evaluate
from lab.probes.gradient_flow import negative_inputs

EXTREME = -4.0
FLAT = 0.01
"""|GELU'(z)| that counts as vanished."""
MUCH = 0.01
"""Share of the squared gradient whose loss matters."""


def slope(z: float) -> float:
    """GELU'(z) in closed form; accurate in the left tail, where Phi is erfc."""
    return math.erfc(-z / math.sqrt(2)) / 2 + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """What `negative_inputs` says of every network trained with GELU."""

    def of_network(cell, run, variables, test):
        return negative_inputs(cell.task, cell.model, variables, batch_of(cell, test, 32), below=EXTREME)

    return {"vanishing_in_the_extremes_layers": evaluate(grids[DECODER], among("gelu", rate=None), of_network)}


def parts(evidence: Evidence) -> list[Part]:
    """What training loses at both rates, and the slope."""
    rows, found = evidence.measured["vanishing_in_the_extremes_layers"], []
    for place, rate in enumerate(("lower", "higher")):
        lost = by_seed(rows, "lost", rate=place).to_numpy()
        found.append(Part(f"share of the gradient lost below -4, {rate} rate", lost, MUCH, unit="share"))
    flat = np.array([abs(slope(EXTREME))])
    return [*found, Part("|GELU'(-4)|, closed form", flat, FLAT, "same", unit="slope", centre="exact")]


def details(evidence: Evidence) -> pd.DataFrame:
    """By rate: the share of pre-activations below -4 and what arrives and is lost there, means and the largest."""
    rows = evidence.measured["vanishing_in_the_extremes_layers"]
    columns = ["mean", "std", "share_below", "arriving", "lost"]
    means = rows.groupby("learning_rate")[columns].mean()
    largest = rows.groupby("learning_rate")[["share_below", "lost"]].max().add_prefix("largest_")
    return means.join(largest).reset_index()


claim = GeluClaim(
    name="vanishing_in_the_extremes",
    statement="GELU's gradient vanishes for very negative inputs, and training loses by it",
    made="lists of GELU's disadvantages",
    control="the closed form; a standard normal distribution, of which 3.2e-5 lies below -4",
    measured=(
        "the share of the squared gradient at the hidden values that arrives below -4 and does not leave, mean over "
        "layers, in trained decoders; and the slope in closed form. mean, std: of the pre-activations; largest: of any "
        "layer and seed"
    ),
    varies="the learning rate and on what is measured",
    arms={DECODER: ("gelu",)},
    parts=parts,
    measure=measure,
    details=details,
)
