"""ReLU units die and GELU's do not, which is why GELU trains better.

Commonly made of all activations with a slope below 0. A unit is dead here if the slope of its activation is at most
0.001 at every position of held-out data, so that hardly any gradient reaches it: with ReLU, one that is never positive.
That units die is one part; that it costs loss is another, for which leaky ReLU is the control, as it differs from ReLU
by its slope of 0.01 below 0 alone and cannot die.
"""

from functools import partial
from itertools import product

import pandas as pd

from experiments.claims.claim import MARGIN, GeluClaim, Grids
from experiments.claims.networks import DECODER, PERCEPTRON, WORDS, Evidence, among, batch_of, by_seed
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.study import Evaluate
from lab.probes.dead_units import dead_units

NAMES = ("gelu", "relu", "leaky_relu")
FEW = 0.01
"""Share of dead units that does not matter."""
EXAMPLES = {DECODER: 64, PERCEPTRON: 4096}


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """The share of dead units in every layer of every network."""

    def of_network(grid, cell, run, variables, test):
        batch = batch_of(cell, test, EXAMPLES[grid])
        found = dead_units(cell.task, cell.model, variables, batch)
        return [{"layer": layer, "value": share} for layer, share in found.items()]

    found = [
        evaluate(grids[grid], among(*NAMES, rate=None), partial(of_network, grid)).assign(grid=grid)
        for grid in (DECODER, PERCEPTRON)
    ]
    return {"dying_relu_dead": pd.concat(found, ignore_index=True)}


def parts(evidence: Evidence) -> list[Part]:
    """Dead units and loss at the higher rate, in both networks."""
    dead, found = evidence.measured["dying_relu_dead"], []
    for grid in (PERCEPTRON, DECODER):
        relu, gelu = (by_seed(dead, grid=grid, activation=name, rate=1) for name in ("relu", "gelu"))
        found.append(Part(f"dead units, relu - gelu, {WORDS[grid]}", (relu - gelu).to_numpy(), FEW, unit="share"))
    for grid in (PERCEPTRON, DECODER):
        more = evidence.difference("relu", "leaky_relu", grid=grid, rate=1)
        found.append(Part(f"loss, relu - leaky relu, {WORDS[grid]}", more, MARGIN))
    return found


def details(evidence: Evidence) -> pd.DataFrame:
    """Means over seeds of the dead share and of the loss, by network, activation and rate."""
    dead, rows = evidence.measured["dying_relu_dead"], []
    for grid, name, rate in product((DECODER, PERCEPTRON), NAMES, (0, 1)):
        shares = by_seed(dead, grid=grid, activation=name, rate=rate)
        losses = evidence.loss(name, grid=grid, rate=rate)
        about = {"network": grid, "activation": name, "learning_rate": evidence.rates(grid)[rate]}
        found = {"dead": shares.mean(), "most_dead": shares.max(), "loss": losses.mean(), "loss_sd": losses.std()}
        rows.append(about | {column: float(value) for column, value in found.items()})
    return pd.DataFrame(rows)


claim = GeluClaim(
    name="dying_relu",
    statement="ReLU units die at high learning rates, GELU's do not, and it costs loss",
    made="introductions to GELU and to leaky activations",
    control="relu against gelu (dead units) and against leaky_relu (loss)",
    measured=(
        "the share of units whose slope is at most 0.001 at every position of held-out data, mean over layers, and the "
        "loss, at the higher rate. most_dead: of any seed"
    ),
    varies="the network and on what is measured",
    arms={DECODER: NAMES, PERCEPTRON: NAMES},
    parts=parts,
    measure=measure,
    details=details,
)
