"""How an experiment is trained, as far as its numbers do not depend on it."""

from dataclasses import dataclass

from lab.training.devices.placement import Placement


@dataclass(frozen=True)
class Mode(Placement):
    """Where the runs and their data lie, and what is done beside training; one experiment may be trained in several."""

    retrain: bool = False
    """Train again what is there already."""
    track: bool = False
    """Write the curves for TensorBoard too: tensorboard --logdir results/NAME/tensorboard."""
    profile: bool = False
    """Trace a few steps of every cell, for Perfetto and TensorBoard, into results/NAME/profile."""
    quiet: bool = False
    """Show no progress."""
