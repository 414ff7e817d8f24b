"""A claim about GELU: what is said, its control, how it is measured, and the rule that reads it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from experiments.claims.networks import Arms, Evidence
from lab.comparison.claim import Part
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


@dataclass(frozen=True)
class Claim:
    """A claim, which is one file; everything but `parts` is fixed before the runs."""

    name: str
    statement: str
    """What is claimed, one sentence in our words."""
    made: str
    """Where it is commonly made."""
    control: str
    """What GELU is compared with."""
    measured: str
    """How the numbers are measured."""
    varies: str
    """What the verdict depends on if some parts hold and others do not."""
    arms: Arms
    """The activations that must be trained, by grid."""
    parts: Callable[[Evidence], list[Part]]
    """The quantities that it speaks of; the first one stands for it in the table."""
    measure: Measure = nothing
    """Measures the trained networks; its tables have names that begin with that of the claim."""
    details: Callable[[Evidence], pd.DataFrame | None] = lambda evidence: None
    """A table that stands beside the parts."""
    every: bool = True
    """Whether the claim is about every part, or says that there is one."""
    notes: tuple[str, ...] = field(default=())
    """Limits of the reading."""
