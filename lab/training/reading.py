"""Batches that the host reads ahead of the device, for data that the device does not hold."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from lab.tasks.task import Task
from lab.training.memory import capacity
from lab.training.placement import Place

MEMORY_PER_DATA = 4  # of the device's memory, one part may be data
MAX_ELEMENTS = 2**31 - 2**20  # numbers in an array: beyond it, and a window further, 32 bits do not count them
WINDOW_BYTES = 2**26  # batches on the device at once; as many more are read meanwhile
THREADS = 8  # that read


def place(asked: Place, arrays: Mapping[str, np.ndarray]) -> Literal["device", "host"]:
    """Where the training data lies: on the device if it fits. Raises ValueError where it cannot lie."""
    countable = max(array.size for array in arrays.values()) <= MAX_ELEMENTS
    if asked == "device" and not countable:
        raise ValueError(
            f"data_on is 'device', but an array has more than {MAX_ELEMENTS} numbers: only 'host' is possible"
        )
    size = sum(array.nbytes for array in arrays.values())
    if asked == "device" or (asked == "auto" and countable and size <= capacity() // MEMORY_PER_DATA):
        return "device"
    if importlib.util.find_spec("grain") is None:
        raise ValueError(
            f"data of {size} bytes is to be read by the host, which takes the package grain: pip install grain"
        )
    return "host"


def steps_at_once(task: Task, arrays: Mapping[str, np.ndarray], batch_size: int, runs: int, interval: int) -> int:
    """Steps whose batches of all runs are on the device together, at most an interval's."""
    batch = task.batch(arrays, 0, 0, batch_size)
    step_bytes = runs * sum(field.nbytes for field in batch.values())
    return min(interval, max(1, WINDOW_BYTES // step_bytes))


def windows(
    task: Task,
    arrays: Mapping[str, np.ndarray],
    batch_size: int,
    seeds: Sequence[int] | np.ndarray,
    begin: int,
    end: int,
    length: int,
) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    """The batches of steps `begin` to `end`, `length` steps at once: first step, number of steps, and fields [seeds,
    length, batch_size, ...], with zeros after the last step.

    A batch is what `task.batch` gives of the arrays on the host, memory-mapped or not, for all seeds at once (a call a
    seed took four times as long): a function of (seed, step) alone, so that reading begins at any step, and a host
    reads nothing but the batches of its own seeds. Threads read ahead while the device computes.
    """
    import grain  # when needed: it takes more than a second

    distinct, which = np.unique(np.asarray(seeds, np.uint32), return_inverse=True)

    def batches(step: int) -> dict[str, np.ndarray]:
        return task.batch(arrays, distinct[:, None], step, batch_size)

    steps = grain.MapDataset.range(begin, end).map(batches)
    options = grain.ReadOptions(num_threads=min(THREADS, length), prefetch_buffer_size=length)
    ahead = steps.to_iter_dataset(options).batch(length)
    for first, window in zip(range(begin, end, length), ahead, strict=True):
        count = min(length, end - first)
        yield first, count, {name: _of_runs(field, which, length - count) for name, field in window.items()}


def _of_runs(field: np.ndarray, which: np.ndarray, missing: int) -> np.ndarray:
    """[steps, distinct seeds, ...] as [seeds, steps + missing, ...]."""
    padded = np.pad(field, ((0, missing), *[(0, 0)] * (field.ndim - 1)))
    return padded.swapaxes(0, 1)[which]
