"""GELU gains from not being monotone.

Commonly made of GELU and Swish: the dip below 0, with its negative slope left of -0.752, is said to let small negative
values through and to make networks more expressive (Ramachandran et al. 2017, arXiv:1710.05941, section 5.1, call the
"bump" the most striking property of Swish). The twin is GELU with its minimum, -0.170, everywhere left of -0.752.
"""

import pandas as pd

from experiments.claims.claim import MARGIN, GeluClaim, Grids
from experiments.claims.networks import DECODER, Evidence, among, batch_of
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.study import Evaluate
from lab.probes.gradient_flow import negative_inputs

MINIMUM = -0.7518
"""Where GELU is smallest."""


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """How many pre-activations lie left of the minimum, in every layer of the networks at the lower rate."""

    def of_network(cell, run, variables, test):
        rows = negative_inputs(cell.task, cell.model, variables, batch_of(cell, test, 16), below=MINIMUM)
        return [{"layer": row["layer"], "value": row["share_below"]} for row in rows]

    return {"non_monotone_share": evaluate(grids[DECODER], among("gelu", "gelu_monotone"), of_network)}


def parts(evidence: Evidence) -> list[Part]:
    """Losses at both rates."""
    return [
        Part("loss, monotone twin - gelu, lower rate", evidence.difference("gelu_monotone"), MARGIN),
        Part("loss, monotone twin - gelu, higher rate", evidence.difference("gelu_monotone", rate=1), MARGIN),
    ]


def details(evidence: Evidence) -> pd.DataFrame:
    """How much of the pre-activations lies where GELU falls: by layer, means over seeds, lowest and highest."""
    keys = ["activation", "layer"]
    shares = evidence.measured["non_monotone_share"].groupby(keys, sort=False)["value"]
    return shares.agg(["mean", "min", "max"]).reset_index()


claim = GeluClaim(
    name="non_monotone",
    statement="GELU gains from not being monotone",
    made="texts on GELU and Swish, which credit the dip below 0",
    control="gelu_monotone, constant at GELU's minimum left of -0.752",
    measured=(
        "the twin's loss minus GELU's; beside it the share of pre-activations left of the minimum, where GELU falls, "
        "in decoders trained at the lower rate"
    ),
    varies="the learning rate",
    arms={DECODER: ("gelu", "gelu_monotone")},
    parts=parts,
    measure=measure,
    details=details,
)
