"""GELU and LayerNorm go together.

Commonly made of Transformers: LayerNorm centres pre-activations at 0, where GELU bends, so the two are said to suit
each other. If so, GELU's advantage over ReLU is larger with LayerNorm than without a norm or with RMSNorm, which does
not centre: an interaction. "ReLU's Revival" (2024) reports the second half, that without norms ReLU is ahead.
"""

import pandas as pd

from experiments.claims.claim import MARGIN, GeluClaim
from experiments.claims.networks import DECODER, NORMS, Evidence
from lab.comparison.networks.claim import Part

NAMES = ("gelu", "relu")
KINDS = ("layernorm", "rmsnorm", "none")


def parts(evidence: Evidence) -> list[Part]:
    """The advantage with LayerNorm minus that without a norm and with RMSNorm."""
    ahead = {norm: evidence.difference("relu", norm=norm) for norm in KINDS}
    return [
        Part("advantage over relu, LayerNorm - no norm", ahead["layernorm"] - ahead["none"], MARGIN),
        Part("advantage over relu, LayerNorm - RMSNorm", ahead["layernorm"] - ahead["rmsnorm"], MARGIN),
    ]


def details(evidence: Evidence) -> pd.DataFrame:
    """Losses and the advantage, relu - gelu, with its uncorrected interval, by norm."""
    return pd.DataFrame([{"norm": norm, **evidence.advantage(norm=norm)} for norm in KINDS])


claim = GeluClaim(
    name="works_with_layernorm",
    statement="GELU works particularly well with LayerNorm",
    made="descriptions of BERT and GPT, which use both",
    control="relu with the same norm; RMSNorm and no norm",
    measured=(
        "interactions: relu minus gelu in loss with LayerNorm, minus the same with another norm or none, at the lower "
        "rate. advantage: relu minus gelu, with the 95 % interval of each norm by itself"
    ),
    varies="the norm that it is compared with",
    arms={DECODER: NAMES, NORMS: NAMES},
    parts=parts,
    details=details,
)
