"""A trace of a few steps, for Perfetto and TensorBoard."""

from contextlib import nullcontext
from pathlib import Path

import jax

from lab.training.devices import distributed
from lab.training.runs import Program

STEPS = 3  # traces grow with every operation of every step


def trace(program: Program, directory: Path) -> None:
    """Trace some steps of all runs into `directory`/plugins/profile, as perfetto_trace.json.gz and *.xplane.pb.

    These steps are additional and their states are discarded, so that results do not change; one step before them
    places the data and initializes libraries. Raises OSError if the directory cannot be written.
    """
    state, _ = program.train_interval(program.init(), 0, 1)
    with jax.profiler.trace(directory, create_perfetto_trace=True) if distributed.first() else nullcontext():
        program.train_interval(state, 1, STEPS)  # returns NumPy arrays, so the device has finished
