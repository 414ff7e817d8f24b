"""GELU is not always the best activation.

Commonly made as a caution at the end of articles on GELU. It is a claim that there is a case: it holds if in at least
one of twelve comparisons, four rivals in three tasks, GELU's advantage is below the margin, or the rival is ahead. All
twelve intervals hold together, so searching among them is allowed for.
"""

import pandas as pd

from experiments.claims.claim import MARGIN, GeluClaim
from experiments.claims.networks import CLASSIFIER, DECODER, PERCEPTRON, WORDS, Evidence
from lab.comparison.networks.claim import Part

RIVALS = ("relu", "silu", "relu2", "swiglu")
TASKS = (DECODER, PERCEPTRON, CLASSIFIER)


def parts(evidence: Evidence) -> list[Part]:
    """GELU's advantage over every rival in every task, the smallest first."""
    found = [
        Part(f"loss, {rival} - gelu, {WORDS[grid]}", evidence.difference(rival, grid=grid), MARGIN, "not more")
        for grid in TASKS
        for rival in RIVALS
    ]
    return sorted(found, key=lambda part: part.values.mean())


def details(evidence: Evidence) -> pd.DataFrame:
    """Mean losses at the lower rate: a row an activation, a column a task."""
    rows = []
    for name in ("gelu", *RIVALS):
        rows.append({"activation": name, **{grid: float(evidence.loss(name, grid=grid).mean()) for grid in TASKS}})
    return pd.DataFrame(rows)


claim = GeluClaim(
    name="not_always_superior",
    statement="GELU is not always superior: there are tasks where another activation is as good or better",
    made="the cautions at the end of articles on GELU",
    control="relu, silu, relu2 and swiglu, of equal parameter count",
    measured=(
        "each rival's loss minus GELU's at the lower rate: next byte by a decoder, next byte by an MLP, and the module "
        "of the standard library by an encoder"
    ),
    varies="the task",
    arms=dict.fromkeys(TASKS, ("gelu", *RIVALS)),
    parts=parts,
    details=details,
    every=False,
)
