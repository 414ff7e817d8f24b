"""The execution of a cell's runs on the devices, chosen according to `lab.training.devices.placement`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from lab.tasks.task import Task
from lab.training.devices.placement import Kind, Placement
from lab.training.settings import Settings

CACHE = 2**20  # bytes of a core's L2 cache
TINY = 1_000  # weights times examples of a step, below which it is the calls of the operations that take the time
ROWS = 256  # minimum rows per part, since each part reads all parameters and adds to all gradients


@dataclass(frozen=True)
class Execution:
    """How the run axis is executed; recorded with the results."""

    kind: Literal["vmap", "map"]
    devices: int
    """Devices that share the runs; groups of `shards` devices if runs are sharded."""
    chunk: int = 1
    """Runs at once per device if kind is map."""
    shards: int = 1
    """Devices over which each run is sharded."""
    parts: int = 1
    """Parts of a batch that a device processes one after another."""

    @classmethod
    def choose(cls, kind: Kind, runs: int, chunk: int = 1, shards: int = 1) -> "Execution":
        """The execution for this number of runs on this machine.

        `auto` is vmap on an accelerator. On a CPU, runs follow each other on each device (one virtual device per core):
        batched weight gradients and the larger working set make vmap slower there (but see `fitting`).
        """
        if kind == "auto":
            kind = "map" if jax.default_backend() == "cpu" else "vmap"
        return cls(kind, _groups(runs, shards), chunk, shards)

    @classmethod
    def fitting(
        cls,
        placement: Placement,
        runs: int,
        model: Any,
        task: Task,
        settings: Settings,
        arrays: Mapping[str, np.ndarray],
    ) -> "Execution":
        """`choose`, with the batch in parts where they are faster (`with_parts`).

        `auto` is vmap on a CPU too if a step of a run is `TINY`: of 100 runs of a network with 111 weights and one
        example a step, it takes an eighth of the time.
        """
        kind, examples = placement.execution, settings.batch_size * task.tokens_per_example
        if kind == "auto" and placement.shards == 1 and _weights(model, task, arrays) * examples <= TINY:
            kind = "vmap"
        return cls.choose(kind, runs, shards=placement.shards).with_parts(model, task, settings, arrays)

    def with_parts(self, model: Any, task: Task, settings: Settings, arrays: Mapping[str, np.ndarray]) -> "Execution":
        """The same execution, with the batch split so that the hidden values of a part fit in the cache of a CPU core.

        The gradient of a step is the mean over parts, so only rounding changes; the batch is not split if parts would
        have separate dropout or batch statistics.
        """
        if not self.one_core_each or self.kind != "map" or self.shards > 1 or getattr(model, "dropout", 0) > 0:
            return self
        inputs, variables = _shapes(model, task, arrays)
        if set(variables) != {"params"}:
            return self
        sown = partial(model.apply, mutable=["intermediates"])
        hidden = jax.tree.leaves(jax.eval_shape(sown, variables, *inputs)[1])
        # Rows per example, without the axis of scanned layers.
        rows = max((math.prod(leaf.shape[-3:-1]) for leaf in hidden), default=0)
        size = max((math.prod(leaf.shape[-3:]) * leaf.dtype.itemsize for leaf in hidden), default=0)
        return replace(self, parts=_parts(settings.batch_size // settings.accumulate, rows, size))

    @property
    def one_core_each(self) -> bool:
        """Whether the devices are CPU cores and all busy, so that each must use a single thread."""
        return jax.default_backend() == "cpu" and 1 < self.local_devices == jax.local_device_count()

    @property
    def local_devices(self) -> int:
        """Participating devices per host."""
        return self.devices * self.shards // jax.process_count()

    @property
    def layout(self) -> np.ndarray:
        """The devices [devices, shards], equally many per host, with those of a run adjacent."""
        ordered = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        teams = np.array(ordered).reshape(-1, _of_host(self.shards) * self.shards)
        return teams[:, : self.devices // len(teams) * self.shards].reshape(self.devices, self.shards)


def _shapes(model: Any, task: Task, arrays: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """The shapes of the inputs of one example, and of the variables."""
    inputs = jax.eval_shape(task.inputs, task.batch(arrays, 0, 0, 1))
    return inputs, jax.eval_shape(model.init, jax.random.key(0), *inputs)


def _weights(model: Any, task: Task, arrays: Mapping[str, np.ndarray]) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(_shapes(model, task, arrays)[1]))


def _parts(examples: int, rows: int, size: int) -> int:
    """The smallest number of equal parts of the examples, given their rows and bytes, that fit in the cache."""
    allowed = [n for n in range(1, examples + 1) if examples % n == 0 and rows * examples // n >= ROWS] or [1]
    return next((n for n in allowed if size * examples // n <= CACHE), allowed[-1])


def _groups(runs: int, shards: int) -> int:
    """Groups of `shards` devices for this number of runs: at most one per run, and equally many per host.

    Each host takes part in every program, so that all hosts perform the same steps; if there are fewer runs than hosts,
    runs are padded.
    """
    hosts = jax.device_count() // shards // _of_host(shards)  # or teams of hosts, if a run spans several
    return hosts * min(_of_host(shards), -(-runs // hosts))


def _of_host(shards: int) -> int:
    """Groups of devices on a host, or that it is part of."""
    return max(1, jax.local_device_count() // shards)
