"""How an experiment is trained, as far as that is no matter of its numbers."""

from dataclasses import dataclass, field

from lab.training.execution import Placement


@dataclass(frozen=True)
class Mode:
    """Results of one experiment may be made in different modes, one after another."""

    placement: Placement = field(default_factory=Placement)
    """Where the runs and their data lie."""
    retrain: bool = False
    """Whether to train again what is there already."""
    track: bool = False
    """Whether to write the curves for TensorBoard too."""
    profile: bool = False
    """Whether to trace a few steps of every cell."""
    quiet: bool = False
    """Whether to show no progress."""
