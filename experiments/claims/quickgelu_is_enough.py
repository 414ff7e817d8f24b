"""QuickGELU, x sigmoid(1.702 x), is as good as GELU.

Commonly made where it is used (CLIP), and of approximations in general: they keep most of the benefit and are faster.
Two things are meant: that a network trained with one can be served with the other, and that training with either is
the same. The claim is one of equivalence, so it needs a margin: no difference is not shown by a large p value.
"""

import pandas as pd

from experiments.claims.claim import MARGIN, GeluClaim, Grids
from experiments.claims.networks import DECODER, Evidence, among, by_seed
from lab.comparison.networks.claim import Part
from lab.experiment.budget import Budget
from lab.experiment.study import Evaluate
from lab.surgery.attribution import attribution

BATCH = 16


def measure(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """What happens when the networks trained with GELU are served with QuickGELU."""

    def of_network(cell, run, variables, test):
        batches = cell.task.evaluation_batches(test, BATCH)
        changes = {"quick": {"activation": "gelu_quick"}}
        rows = attribution(cell.task, cell.model, variables["params"], changes, batches)
        return [row for row in rows if row["measure"] in ("loss_difference", "kl", "agreement")]

    return {"quickgelu_is_enough_served": evaluate(grids[DECODER], among("gelu", rate=None), of_network)}


def parts(evidence: Evidence) -> list[Part]:
    """Served with it, and trained with it, at both rates."""
    served, found = evidence.measured["quickgelu_is_enough_served"], []
    for place, rate in enumerate(("lower", "higher")):
        swapped = by_seed(served, measure="loss_difference", rate=place).to_numpy()
        found.append(Part(f"served with it, change of loss, {rate} rate", swapped, MARGIN, "same"))
    for place, rate in enumerate(("lower", "higher")):
        trained = evidence.difference("gelu_quick", rate=place)
        found.append(Part(f"trained with it, loss - gelu's, {rate} rate", trained, MARGIN, "same"))
    return found


def details(evidence: Evidence) -> pd.DataFrame:
    """Means over seeds of what serving with QuickGELU changes: loss, KL divergence, agreement of predictions."""
    rows = evidence.measured["quickgelu_is_enough_served"]
    return rows.pivot_table("value", "learning_rate", "measure").reset_index().rename_axis(columns=None)


claim = GeluClaim(
    name="quickgelu_is_enough",
    statement="QuickGELU keeps what GELU gives, in serving and in training",
    made="texts on efficient Transformers; CLIP was trained with it",
    control="gelu_quick",
    measured=(
        "the change of loss when networks trained with GELU are served with QuickGELU, and the loss of training with "
        "it minus GELU's. kl in nats; agreement: share of positions with the same most probable byte"
    ),
    varies="whether it is served or trained with",
    arms={DECODER: ("gelu", "gelu_quick")},
    parts=parts,
    measure=measure,
    details=details,
)
