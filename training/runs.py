"""Many runs as one program: the only file of `training` with jit, vmap, mesh and sharding."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tasks.task import Dataset, Task
from training import reading, step
from training.settings import Hyperparameters, Run, Settings

Kind = Literal["auto", "vmap", "map"]


@dataclass(frozen=True)
class Execution:
    """How the run axis is executed. The numbers agree within about 1e-5 whichever it is; it is recorded with them."""

    kind: Literal["vmap", "map"]
    devices: int
    """Devices that share the runs."""
    chunk: int = 1
    """Runs at once on a device where kind is map."""

    @classmethod
    def choose(cls, kind: Kind, runs: int, chunk: int = 1) -> "Execution":
        """The execution for so many runs on this machine.

        `auto` is vmap on an accelerator. On a CPU it is one run after another on each device (a virtual one a core):
        batched weight gradients and the larger working set make vmap slower there.
        """
        if kind == "auto":
            kind = "map" if jax.default_backend() == "cpu" else "vmap"
        return cls(kind, min(runs, jax.device_count()), chunk)


def use_all_cores() -> None:
    """Makes one virtual device a CPU core, so that runs go side by side.

    A number that somebody has set (`JAX_NUM_CPU_DEVICES`) stands; and once JAX has started it is too late.
    """
    if jax.config.jax_num_cpu_devices < 0:  # type: ignore[attr-defined]
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", _cores())


def _cores() -> int:
    """The cores this process may use; where the system cannot tell (macOS), all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, so that a second run of a cell compiles nothing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "activation-ablations"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


class Program:
    """All runs of a cell as one compiled program, compiled ahead of time (`compile_seconds`).

    Arrays of runs have a leading axis `runs`, padded by copies of the last run to a multiple of the devices; what
    comes out (`metrics`, `host`) is without the padding.
    """

    def __init__(
        self,
        model: Any,
        task: Task,
        settings: Settings,
        runs: Sequence[Run],
        dataset: Dataset,
        execution: Execution,
        data_on: reading.Place = "auto",
    ):
        self.n_runs, self.execution = len(runs), execution
        self._mesh = jax.make_mesh(
            (execution.devices,),
            ("runs",),
            axis_types=(AxisType.Auto,),
            devices=jax.devices()[: execution.devices],
        )
        padded = [*runs, *[runs[-1]] * (-len(runs) % execution.devices)]
        self._seeds = self._place(np.array([run.seed for run in padded], np.uint32))
        self._hyperparameters = self._place(_stack([run.hyperparameters for run in padded]))
        everywhere = NamedSharding(self._mesh, PartitionSpec())
        self.data_on = reading.place(data_on, dataset.arrays["train"])
        if self.data_on == "device":
            self._data = jax.device_put({"train": dataset.arrays["train"]}, everywhere)
        else:
            self._read = self._reader(task, settings, dataset.arrays["train"])
            self._data = next(self._read(0, 1))[2]
        self._batches = {
            split: jax.device_put(task.evaluation_batches(dataset.arrays[split], settings.batch_size), everywhere)
            for split in ("validation", "test")
        }
        begin = time.perf_counter()
        self._compile(model, task, settings)
        self.compile_seconds = time.perf_counter() - begin

    def _compile(self, model: Any, task: Task, settings: Settings) -> None:
        """Traces each function once and compiles them side by side: XLA works outside Python's lock."""
        data = None if self.data_on == "device" else 0
        init = self._jit(partial(step.init, model, task, settings), (0, 0, data), settings)
        train = self._jit(
            partial(step.train_interval, model, task, settings), (0, None, None, 0, 0, data), settings, donate=True
        )
        evaluate = self._jit(partial(step.evaluate, model, task, settings), (0, None), settings)
        state = jax.eval_shape(init, self._seeds, self._hyperparameters, self._data)
        self._abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((self.n_runs, *leaf.shape[1:]), leaf.dtype), state
        )
        placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._split), state)
        count = np.int32(0)
        by_shape = {str(jax.tree.map(np.shape, batches)): batches for batches in self._batches.values()}
        lowered = [
            init.lower(self._seeds, self._hyperparameters, self._data),
            train.lower(placed, count, count, self._seeds, self._hyperparameters, self._data),
            *(evaluate.lower(placed, batches) for batches in by_shape.values()),
        ]
        with ThreadPoolExecutor() as pool:
            self._init, self._train, *compiled = pool.map(lambda program: program.compile(), lowered)
        programs = dict(zip(by_shape, compiled, strict=True))
        self._evaluate = {
            split: programs[str(jax.tree.map(np.shape, batches))] for split, batches in self._batches.items()
        }

    def init(self) -> step.State:
        """The states of all runs at step 0, leading axis runs."""
        return self._init(self._seeds, self._hyperparameters, self._data)

    def train_interval(self, state: step.State, start: int, length: int) -> tuple[step.State, dict[str, np.ndarray]]:
        """Trains all runs from step `start` on; the state given is used up. Metrics are arrays [runs]."""
        parts: list[tuple[int, dict[str, jax.Array]]] = []
        for begin, count, data in self._portions(start, length):
            if len(parts) > 1:
                jax.block_until_ready(parts[-2])  # else the host would put every window on the device at once
            state, metrics = self._train(
                state, np.int32(begin), np.int32(count), self._seeds, self._hyperparameters, data
            )
            parts.append((count, metrics))
        return state, _combined([(count, self._metrics(metrics)) for count, metrics in parts])

    def evaluate(self, state: step.State, split: str) -> dict[str, np.ndarray]:
        """The task's metrics of all runs on a split, arrays [runs]."""
        return self._metrics(self._evaluate[split](state, self._batches[split]))

    def host(self, state: step.State) -> step.State:
        """The states of the runs proper, as NumPy arrays [runs, ...], to be kept."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[: self.n_runs], state)

    def restore(self, state: step.State) -> step.State:
        """The inverse of `host`, on the devices."""
        extra = len(self._seeds) - self.n_runs
        return self._place(
            jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], extra, axis=0)]), state)
        )

    @property
    def abstract(self) -> step.State:
        """Shapes and types of what `host` gives."""
        return self._abstract

    @property
    def description(self) -> dict[str, Any]:
        """What the numbers were computed on, as JSON."""
        device = self._mesh.devices.flat[0]
        return {
            "device": device.device_kind,
            "device_count": jax.device_count(),
            "execution": asdict(self.execution),
            "data_on": self.data_on,
        }

    @property
    def _split(self) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec("runs"))

    def _place(self, tree: Any) -> Any:
        return jax.device_put(tree, self._split)

    def _portions(self, start: int, length: int) -> Iterator[tuple[int, int, Any]]:
        """First step, number of steps and data of each call that together train `length` steps."""
        if self.data_on == "device":
            return iter([(start, length, self._data)])
        return self._read(start, start + length)

    def _reader(self, task: Task, settings: Settings, arrays: dict[str, np.ndarray]) -> Callable:
        """A function of first and last step that gives the windows of this host's runs, on the devices."""
        length = reading.steps_at_once(task, arrays, settings.batch_size, len(self._seeds), settings.interval)
        own = np.concatenate([np.asarray(shard.data) for shard in self._seeds.addressable_shards])

        def read(begin: int, end: int) -> Iterator[tuple[int, int, Any]]:
            for first, count, window in reading.windows(task, arrays, settings.batch_size, own, begin, end, length):
                put = partial(jax.make_array_from_process_local_data, self._split)
                yield first, count, {"window": jax.tree.map(put, window)}

        return read

    def _metrics(self, metrics: dict[str, jax.Array]) -> dict[str, np.ndarray]:
        return {name: np.asarray(value)[: self.n_runs] for name, value in metrics.items()}

    def _jit(self, function: Callable, in_axes: tuple[int | None, ...], settings: Settings, donate: bool = False):
        """`function` of one run as a compiled function of all: sharded over the devices, mapped or vmapped on each."""
        specs = tuple(PartitionSpec() if axis is None else PartitionSpec("runs") for axis in in_axes)
        many = jax.shard_map(
            _over_runs(function, in_axes, self.execution),
            mesh=self._mesh,
            in_specs=specs,
            out_specs=PartitionSpec("runs"),
            check_vma=False,
        )

        def precise(*arguments):
            with jax.default_matmul_precision(settings.matmul_precision):
                return many(*arguments)

        return jax.jit(precise, donate_argnums=(0,) if donate else ())


def _over_runs(function: Callable, in_axes: tuple[int | None, ...], execution: Execution) -> Callable:
    """`function` over the leading axis of the arguments whose in_axes is 0: all at once, or chunk by chunk."""
    if execution.kind == "vmap":
        return jax.vmap(function, in_axes)

    def mapped(*arguments):
        def one(split):
            remaining = iter(split)
            whole = [next(remaining) if axis == 0 else value for axis, value in zip(in_axes, arguments, strict=True)]
            return function(*whole)

        split = tuple(value for axis, value in zip(in_axes, arguments, strict=True) if axis == 0)
        return lax.map(one, split, batch_size=execution.chunk if execution.chunk > 1 else None)

    return mapped


def _combined(parts: list[tuple[int, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """The metrics of successive parts of an interval, each with its steps, as those of the whole."""
    counts = [count for count, _ in parts]
    columns = {name: [metrics[name] for _, metrics in parts] for name in parts[0][1]}
    return {
        name: np.sum(values, axis=0) if name == "not_finite" else np.average(values, axis=0, weights=counts)
        for name, values in columns.items()
    }


def _stack(hyperparameters: Sequence[Hyperparameters]) -> Hyperparameters:
    """f32 arrays [runs]: a Python float and an f32 array would be two traces."""
    return jax.tree.map(lambda *values: np.array(values, np.float32), *hyperparameters)
