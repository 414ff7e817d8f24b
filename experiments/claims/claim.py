"""A claim about GELU: what is said, its control, how it is measured, and the rule that reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from experiments.claims.networks import Arms, Evidence
from lab.comparison.networks.claim import Claim, Part
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate

MARGIN = 0.01
"""Nats that matter: a third of the standard deviation between seeds in the study noise_floor, and a third of what a
gated layer gains at this size."""

Grids = Mapping[str, Experiment]
Measure = Callable[[Evaluate, Grids, Budget], dict[str, pd.DataFrame]]


def nothing(evaluate: Evaluate, grids: Grids, budget: Budget) -> dict[str, pd.DataFrame]:
    """What a claim measures that is read from the losses alone."""
    return {}


def no_details(evidence: Evidence) -> None:
    """What stands beside the parts of a claim that says all in them."""


@dataclass(frozen=True, kw_only=True)
class GeluClaim(Claim):
    """A claim about GELU, which is one file; everything but what `parts` finds is fixed before the runs."""

    arms: Arms
    """The activations that must be trained, by grid."""
    parts: Callable[[Evidence], list[Part]]
    """The quantities that it speaks of; the first one stands for the claim in the table of all."""
    measure: Measure = nothing
    """Measures the trained networks; its tables have names that begin with that of the claim."""
    details: Callable[[Evidence], pd.DataFrame | None] = no_details
    """A table that stands beside the parts."""
