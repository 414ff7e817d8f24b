"""A trace of a few steps, for Perfetto and TensorBoard."""

from contextlib import nullcontext
from pathlib import Path

import jax

from lab.training import distributed
from lab.training.runs import Program

STEPS = 3  # a trace grows with every operation of every step


def trace(program: Program, directory: Path) -> None:
    """Traces some steps of all runs into `directory`/plugins/profile, as perfetto_trace.json.gz and *.xplane.pb.

    The steps are made beside the training, from states that are then dropped, so that no number depends on it; one more
    before them places the data and starts the libraries. Raises OSError if the directory cannot be written.
    """
    state, _ = program.train_interval(program.init(), 0, 1)
    with jax.profiler.trace(directory, create_perfetto_trace=True) if distributed.first() else nullcontext():
        program.train_interval(state, 1, STEPS)  # gives NumPy arrays: the device has finished
