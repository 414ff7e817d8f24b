"""Prefetches batches on the host, for data that does not fit on the device."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from lab.tasks.task import Task
from lab.training.devices.memory import capacity
from lab.training.devices.placement import Place

MEMORY_PER_DATA = 4  # data may use one part in this many of the device's memory
MAX_ELEMENTS = 2**31 - 2**20  # numbers in an array; with one window more, indices would exceed 32 bits
WINDOW_BYTES = 2**26  # batches on the device at once; the same amount is prefetched meanwhile
THREADS = 8  # that prefetch


def place(asked: Place, arrays: Mapping[str, np.ndarray]) -> Literal["device", "host"]:
    """Where the training data is stored: on the device if it fits. Raises ValueError if the request is impossible."""
    countable = max(array.size for array in arrays.values()) <= MAX_ELEMENTS
    if asked == "device" and not countable:
        raise ValueError(f"data_on is 'device', but an array has more than {MAX_ELEMENTS} numbers: it must be 'host'")
    size = sum(array.nbytes for array in arrays.values())
    if asked == "device" or (asked == "auto" and countable and size <= capacity() // MEMORY_PER_DATA):
        return "device"
    if importlib.util.find_spec("grain") is None:
        raise ValueError(
            f"data of {size} bytes must be read by the host, which needs the package grain: pip install grain"
        )
    return "host"


def steps_at_once(task: Task, arrays: Mapping[str, np.ndarray], batch_size: int, runs: int, interval: int) -> int:
    """Number of steps whose batches for all runs are on the device together, at most one interval."""
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
    length, batch_size, ...], zero-padded after the last step.

    Batches come from `task.batch` on the host arrays, which may be memory-mapped, for all seeds at once (one call per
    seed took four times as long). They are functions of (seed, step) only, so reading can start at any step, and a host
    reads only the batches of its own seeds. Threads prefetch while the device computes.
    """
    import grain  # imported lazily, as it takes more than a second

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
