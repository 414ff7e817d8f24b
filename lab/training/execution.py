"""How the runs of a cell lie on the devices: what is chosen, given what is asked (`lab.training.placement`)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from lab.tasks.task import Task
from lab.training.placement import Kind
from lab.training.settings import Settings

CACHE = 2**20  # bytes of a core's second-level cache
ROWS = 256  # that a part has at least, since each part reads all parameters and adds to all gradients


@dataclass(frozen=True)
class Execution:
    """How the run axis is executed; it is recorded with the numbers."""

    kind: Literal["vmap", "map"]
    devices: int
    """Devices that share the runs; where a run is spread, groups of `shards` devices."""
    chunk: int = 1
    """Runs at once on a device where kind is map."""
    shards: int = 1
    """Devices over which each run is spread."""
    parts: int = 1
    """Parts of a batch that a device goes through one after another."""

    @classmethod
    def choose(cls, kind: Kind, runs: int, chunk: int = 1, shards: int = 1) -> "Execution":
        """The execution for this number of runs on this machine.

        `auto` is vmap on an accelerator. On a CPU it is one run after another on each device (a virtual one a core):
        batched weight gradients and the larger working set make vmap slower there.
        """
        if kind == "auto":
            kind = "map" if jax.default_backend() == "cpu" else "vmap"
        return cls(kind, _groups(runs, shards), chunk, shards)

    def with_parts(self, model: Any, task: Task, settings: Settings, arrays: Mapping[str, np.ndarray]) -> "Execution":
        """The same with as many parts as let the hidden values of a part stay in the cache of a CPU's core.

        A step's gradient is the mean of the parts', so that nothing changes but rounding; where each part would have
        dropout or batch statistics of its own, the batch stays whole.
        """
        if not self.one_core_each or self.kind != "map" or self.shards > 1 or getattr(model, "dropout", 0) > 0:
            return self
        inputs = jax.eval_shape(task.inputs, task.batch(arrays, 0, 0, 1))
        variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
        if set(variables) != {"params"}:
            return self
        sown = partial(model.apply, mutable=["intermediates"])
        hidden = jax.tree.leaves(jax.eval_shape(sown, variables, *inputs)[1])
        rows = max((math.prod(leaf.shape[-3:-1]) for leaf in hidden), default=0)  # of an example; scanned layers aside
        size = max((math.prod(leaf.shape[-3:]) * leaf.dtype.itemsize for leaf in hidden), default=0)
        return replace(self, parts=_parts(settings.batch_size // settings.accumulate, rows, size))

    @property
    def one_core_each(self) -> bool:
        """Whether the devices are a CPU's cores and all at work, so that none has threads to spare for another's."""
        return jax.default_backend() == "cpu" and 1 < self.local_devices == jax.local_device_count()

    @property
    def local_devices(self) -> int:
        """Devices of each host that take part."""
        return self.devices * self.shards // jax.process_count()

    @property
    def layout(self) -> np.ndarray:
        """The devices [devices, shards], as many of every host, those of a run side by side."""
        ordered = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        teams = np.array(ordered).reshape(-1, _of_host(self.shards) * self.shards)
        return teams[:, : self.devices // len(teams) * self.shards].reshape(self.devices, self.shards)


def _parts(examples: int, rows: int, size: int) -> int:
    """The fewest equal parts of so many examples, each of so many rows and bytes, that fit the cache."""
    allowed = [n for n in range(1, examples + 1) if examples % n == 0 and rows * examples // n >= ROWS] or [1]
    return next((n for n in allowed if size * examples // n <= CACHE), allowed[-1])


def _groups(runs: int, shards: int) -> int:
    """Groups of `shards` devices that share so many runs: at most one a run, and as many on every host.

    Each host has a part in every program, so that all of them go through the same steps; where there are fewer runs
    than hosts, they are padded.
    """
    hosts = jax.device_count() // shards // _of_host(shards)  # or teams of hosts, where a run is spread over several
    return hosts * min(_of_host(shards), -(-runs // hosts))


def _of_host(shards: int) -> int:
    """Groups of devices that a host has, or has a part in."""
    return max(1, jax.local_device_count() // shards)
