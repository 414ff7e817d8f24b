"""GELU is better in Transformers than in other networks.

Commonly made since BERT and GPT use it: GELU is said to be the choice for Transformers and ReLU good enough elsewhere.
That is an interaction: GELU's advantage over ReLU in a decoder minus the same in an MLP. Both predict the next byte of
the same text, so that the losses have one unit.
"""

import numpy as np
import pandas as pd

from experiments.claims.claim import MARGIN, GeluClaim
from experiments.claims.networks import DECODER, PERCEPTRON, Evidence
from lab.comparison.networks.claim import Part

NAMES = ("gelu", "relu")


def parts(evidence: Evidence) -> list[Part]:
    """The interaction at both rates."""
    return [
        Part(
            f"advantage over relu, decoder - MLP, {rate} rate",
            np.subtract(*(evidence.difference("relu", grid=grid, rate=place) for grid in (DECODER, PERCEPTRON))),
            MARGIN,
        )
        for place, rate in enumerate(("lower", "higher"))
    ]


def details(evidence: Evidence) -> pd.DataFrame:
    """Losses and the advantage, relu - gelu, with its uncorrected interval, by network and rate."""
    rows = []
    for grid in (DECODER, PERCEPTRON):
        for place, rate in enumerate(evidence.rates(grid)):
            rows.append({"network": grid, "learning_rate": rate, **evidence.advantage(grid=grid, rate=place)})
    return pd.DataFrame(rows)


claim = GeluClaim(
    name="better_in_transformers",
    statement="GELU gains more over ReLU in a Transformer than in an MLP",
    made="texts that call GELU the activation of Transformers",
    control="relu in both networks",
    measured=(
        "the interaction: relu minus gelu in loss in the decoder, minus the same in the MLP, paired by seed; both "
        "predict the next byte of the same text. advantage: relu minus gelu, with the 95 % interval of each by itself"
    ),
    varies="the learning rate",
    arms={DECODER: NAMES, PERCEPTRON: NAMES},
    parts=parts,
    details=details,
)
