"""Many runs as one program; the only file of `lab.training` with jit, vmap, mesh and sharding."""

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lab.data.dataset import Dataset
from lab.results.examples import Measured
from lab.tasks.task import Task
from lab.training import reading, step
from lab.training.devices import distributed, memory
from lab.training.devices.execution import Execution
from lab.training.devices.sharding import DATA, RUNS, shardings, with_split_inputs
from lab.training.evaluation import Batches, Evaluation, Sums, by_example, total
from lab.training.settings import Hyperparameters, Run, Settings
from lab.training.telemetry import Key, Probe

# Shardings of arrays; the mesh has the axes `runs` and `data`.
WHOLE = PartitionSpec()
RUN = PartitionSpec(RUNS)
BATCHES = PartitionSpec(None, DATA)  # [n_batches, batch_size, ...]
WINDOW = PartitionSpec(RUNS, None, DATA)  # [runs, steps, batch_size, ...]


def use_all_cores() -> None:
    """Create one virtual device per CPU core, so that runs execute in parallel.

    A number set by the user (`JAX_NUM_CPU_DEVICES`) is kept. Has no effect once JAX has started. Starts JAX: raises
    ValueError if it has no device of the platforms in `JAX_PLATFORMS`.
    """
    if jax.config.jax_num_cpu_devices < 0:  # type: ignore[attr-defined]
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", _cores())
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # an assertion where the library of a platform is not installed
        asked = jax.config.jax_platforms  # type: ignore[attr-defined]
        raise ValueError(
            f"JAX_PLATFORMS is '{asked}', and JAX finds no device of it here: give one that there is, such as cpu, or "
            f"leave it out"
        ) from None


def _cores() -> int:
    """The cores available to this process; all cores if the system does not say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_compilation_cache() -> None:
    """Cache compiled programs in the user's cache folder, so that a second run of a cell needs no compilation."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if home.startswith("~"):
        return  # there is no home directory
    cache = Path(home) / "activation-ablations"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


class Program:
    """All runs of a cell as one program, compiled ahead of time (`compile_seconds`); places nothing before it starts.

    `device_bytes` is the memory that it needs on each device, including data, by the analysis of its compiled parts.
    Arrays of runs have a leading axis `runs`, padded with copies of the last run to a multiple of the devices; results
    (`metrics`, `host`) have no padding, and are complete on every host. If a run is sharded over several devices, the
    second axis of the mesh, its batches are split over them, and its state as in `lab.training.devices.sharding`. With
    a `probe` it looks inside the networks too (`telemetry`), and training tells of every step.
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
        probe: Probe | None = None,
    ):
        self.n_runs, self.execution = len(runs), execution
        self._mesh = Mesh(execution.layout, (RUNS, DATA), axis_types=(AxisType.Auto,) * 2)
        self._numbers = _numbers(runs, execution.devices)
        self._arrays = dataset.arrays["train"]
        self.data_on = reading.place(data_on, self._arrays)
        self._task, self._settings, self.probe = task, settings, probe
        self.evaluation = Evaluation.of(task, settings, dataset)
        begin = time.perf_counter()
        self._compile(model)
        self.compile_seconds = time.perf_counter() - begin

    def with_runs(self, runs: Sequence[Run]) -> "Program":
        """The same compiled program for as many other runs, whose seeds and hyperparameters are its arguments; its
        `compile_seconds` are 0. Raises ValueError for another number of runs, or if hyperparameters are None that were
        numbers, or the other way round."""
        numbers = _numbers(runs, self.execution.devices)
        shapes = [jax.tree.map(np.shape, one) for one in (self._numbers, numbers)]
        if len(runs) != self.n_runs or shapes[0] != shapes[1]:
            raise ValueError(f"runs are {len(runs)}: the program is compiled for {self.n_runs} with the same fields")
        other = copy.copy(self)
        other.__dict__.pop("_runs", None)  # the cached ones on the devices
        other._numbers, other.compile_seconds = numbers, 0.0
        return other

    def _compile(self, model: Any) -> None:
        """Trace each function once and compile them in parallel, as XLA releases the GIL."""
        task, axis = self._task, 0 if self.data_on == "host" else None
        settings = replace(self._settings, accumulate=self._settings.accumulate * self.execution.parts)
        spread = with_split_inputs(task) if self.execution.shards > 1 else task
        init = self._jit(partial(step.init, model, task, settings), (0, 0, axis))
        train = self._jit(
            partial(step.train_interval, model, spread, settings, each=self.probe is not None),
            (0, None, None, 0, 0, axis),
            donate=True,
        )
        evaluate = self._jit(partial(step.evaluate, model, spread), (0, None))
        runs = self._shapes(self._numbers, RUN)
        data = self._shapes(*((self._window_like(), WINDOW) if axis == 0 else ({"train": self._arrays}, WHOLE)))
        portion = self._shapes(next(self.evaluation.curve.portions(self.evaluation.length)), BATCHES)
        state = jax.eval_shape(init, *runs, data)
        state = jax.tree.map(_with, state, shardings(state, self._mesh))
        count = np.int32(0)
        lowered = [
            init.lower(*runs, data),
            train.lower(state, count, count, *runs, data),
            evaluate.lower(state, portion),
        ]
        if self.probe is not None:
            look = self._jit(partial(step.telemetry, self.probe, model, task, settings), (0, 0, None))
            lowered.append(look.lower(state, runs[1], self._shapes(self.evaluation.inside, WHOLE)))
        with ThreadPoolExecutor() as pool:
            options = _compiler_options(self.execution)
            self._init, self._train, self._evaluate, *self._telemetry = pool.map(
                lambda program: program.compile(options), lowered
            )
        self._state = state
        self.device_bytes = self._needed(data, portion)

    def _needed(self, data: Any, portion: Any) -> int:
        """Bytes per device: what stays on it, and the largest additional need of any program."""
        windows = 1 if self.data_on == "device" else 2  # the current one and the next
        stays = memory.size(self._state) + windows * memory.size(data) + memory.size(portion)
        beside = [memory.added(program) for program in (self._train, self._evaluate, *self._telemetry)]
        return stays + max(memory.added(self._init) - memory.size(self._state), *beside)  # init returns the state

    def init(self) -> step.State:
        """The states of all runs at step 0, leading axis runs."""
        data = next(self._portions(0, 1))[2]
        return self._init(*self._runs, data)

    def train_interval(self, state: step.State, start: int, length: int) -> tuple[step.State, dict[str, np.ndarray]]:
        """Train all runs from step `start` on; the given state is donated. Metrics are arrays [runs]."""
        parts: list[tuple[int, dict[str, jax.Array]]] = []
        for begin, count, data in self._portions(start, length):
            if len(parts) > 1:
                jax.block_until_ready(parts[-2])  # otherwise the host would put every window on the device at once
            state, metrics = self._train(state, np.int32(begin), np.int32(count), *self._runs, data)
            parts.append((count, metrics))
        return state, _combined([(count, self.host(metrics)) for count, metrics in parts])

    def telemetry(self, state: step.State) -> dict[Key, np.ndarray]:
        """What happens inside the networks of all runs, arrays [runs]; only of a program with a probe."""
        (look,) = self._telemetry
        return self.host(look(state, self._runs[1], self._place(self.evaluation.inside, WHOLE)))

    def evaluate(self, state: step.State) -> dict[str, np.ndarray]:
        """The task's metrics of all runs on the batches of the curve, arrays [runs]."""
        return self._summary(whole for whole, _ in self._evaluated(state, self.evaluation.curve))

    def evaluate_last(self, state: step.State, split: str) -> tuple[dict[str, np.ndarray], dict[str, Measured]]:
        """The same on the batches of a split at the last step, and the metrics of single examples."""
        batches = self.evaluation.final[split]
        whole, examples = zip(*self._evaluated(state, batches), strict=True)
        return self._summary(whole), by_example(list(examples), batches)

    def _evaluated(self, state: step.State, batches: Batches) -> Iterator[tuple[Sums, Sums]]:
        """Sums and weights of each portion of the batches, and those of its examples, leading axis runs."""
        for portion in batches.portions(self.evaluation.length):
            yield self.host(self._evaluate(state, self._place(portion, BATCHES)))

    def _summary(self, parts: Iterable[Sums]) -> dict[str, np.ndarray]:
        means = {name: value / weight for name, (value, weight) in total(parts).items()}
        return {name: np.asarray(value) for name, value in self._task.summary(means).items()}

    def host(self, tree: Any) -> Any:
        """A tree of arrays of all runs, a state, say, as NumPy arrays [runs, ...] of the runs proper."""
        return jax.tree.map(lambda leaf: distributed.gathered(leaf)[: self.n_runs], tree)

    def restore(self, state: step.State) -> step.State:
        """The inverse of `host`, on the devices."""
        extra = len(self._numbers[0]) - self.n_runs
        padded = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], extra, axis=0)]), state)
        return jax.tree.map(lambda leaf, shape: _put(leaf, shape.sharding), padded, self._state)

    @property
    def abstract(self) -> step.State:
        """Shapes and types of what `host` returns."""
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((self.n_runs, *leaf.shape[1:]), leaf.dtype), self._state)

    @property
    def description(self) -> dict[str, Any]:
        """The execution and devices of the results, as JSON."""
        return {
            "device": self._mesh.devices.flat[0].device_kind,
            "device_count": jax.device_count(),
            "process_count": jax.process_count(),
            "x64": jax.config.jax_enable_x64,  # type: ignore[attr-defined]
            "execution": asdict(self.execution),
            "data_on": self.data_on,
            "device_bytes": self.device_bytes,
            **({} if self.probe is None else {"telemetry": True}),
        }

    @cached_property
    def _runs(self) -> tuple[Any, Any]:
        """Seeds and hyperparameters, on the devices."""
        return self._place(self._numbers, RUN)

    @cached_property
    def _data(self) -> Any:
        return self._place({"train": self._arrays}, WHOLE)

    def _portions(self, start: int, length: int) -> Iterator[tuple[int, int, Any]]:
        """First step, number of steps and data of the calls that together train `length` steps."""
        if self.data_on == "device":
            return iter([(start, length, self._data)])
        return self._windows(start, start + length)

    def _windows(self, begin: int, end: int) -> Iterator[tuple[int, int, Any]]:
        """The batches of steps `begin` to `end` on the devices, window by window; a host reads those of its runs."""
        seeds, sharding = self._order_seeds, NamedSharding(self._mesh, WINDOW)
        own = _own(seeds, NamedSharding(self._mesh, RUN))
        size, length = self._settings.batch_size, self._window_steps
        for first, count, window in reading.windows(self._task, self._arrays, size, own, begin, end, length):
            yield first, count, {"window": jax.tree.map(partial(_put, sharding=sharding, runs=len(seeds)), window)}

    @property
    def _order_seeds(self) -> np.ndarray:
        """The seed of each run's batches."""
        own = self._settings.order_seed
        return self._numbers[0] if own is None else np.full_like(self._numbers[0], own)

    @property
    def _window_steps(self) -> int:
        return reading.steps_at_once(
            self._task, self._arrays, self._settings.batch_size, len(self._numbers[0]), self._settings.interval
        )

    def _shapes(self, tree: Any, spec: PartitionSpec) -> Any:
        """Shapes and types of arrays with their sharding on the devices."""
        shapes = jax.eval_shape(lambda leaves: leaves, tree)
        return jax.tree.map(partial(_with, sharding=NamedSharding(self._mesh, spec)), shapes)

    def _window_like(self) -> dict[str, dict[str, np.ndarray]]:
        """Arrays with the shape of a window, but without its memory."""
        batch = self._task.batch(self._arrays, 0, 0, self._settings.batch_size)
        lead = len(self._numbers[0]), self._window_steps
        return {"window": {name: np.broadcast_to(field, (*lead, *field.shape)) for name, field in batch.items()}}

    def _place(self, tree: Any, spec: PartitionSpec) -> Any:
        return jax.tree.map(partial(_put, sharding=NamedSharding(self._mesh, spec)), tree)

    def _jit(self, function: Callable, in_axes: tuple[int | None, ...], donate: bool = False):
        """Compile a function of one run for all runs: sharded over the devices, mapped or vmapped on each.

        If a run is sharded, the compiler partitions it by the sharding of inputs and state (GSPMD, Xu et al. 2021).
        """
        many = jax.shard_map(
            _over_runs(function, in_axes, self.execution),
            mesh=self._mesh,
            in_specs=tuple(WHOLE if axis is None else RUN for axis in in_axes),
            out_specs=RUN,
            axis_names={RUNS} if self.execution.shards > 1 else {RUNS, DATA},
            check_vma=False,
        )

        def precise(*arguments):
            with jax.default_matmul_precision(self._settings.matmul_precision):
                found = many(*arguments)
            return lax.with_sharding_constraint(found, shardings(found, self._mesh))

        return jax.jit(precise, donate_argnums=(0,) if donate else ())


class Reuse:
    """Makes programs as `Program` does, but compiles only where the number of runs or their execution is new: for runs
    of one cell, the same model, task, settings and data, that are trained one call of `lab.training.train.train` after
    another, as where their learning rates depend on the results before."""

    def __init__(self) -> None:
        self._made: dict[Any, Program] = {}

    @property
    def compiled(self) -> int:
        """How many programs were compiled."""
        return len(self._made)

    def __call__(
        self, model: Any, task: Task, settings: Settings, runs: Sequence[Run], *, execution: Execution, **others: Any
    ) -> Program:
        """`Program` of these arguments."""
        key = (model, task, settings, len(runs), execution)
        if key in self._made:
            return self._made[key].with_runs(runs)
        self._made[key] = Program(model, task, settings, runs, execution=execution, **others)
        return self._made[key]


def _numbers(runs: Sequence[Run], devices: int) -> tuple[np.ndarray, Hyperparameters]:
    """Seeds and hyperparameters, padded with copies of the last run to a multiple of the devices."""
    padded = [*runs, *[runs[-1]] * (-len(runs) % devices)]
    return np.array([run.seed for run in padded], np.uint32), _stack([run.hyperparameters for run in padded])


def _compiler_options(execution: Execution) -> dict[str, Any]:
    """One thread per device if each is a core, as devices with a shared pool wait for each other."""
    return {"xla_cpu_multi_thread_eigen": False} if execution.one_core_each else {}


def _with(shape: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)


def _own(values: np.ndarray, sharding: NamedSharding) -> np.ndarray:
    """The part of all runs' values that belongs to runs on this host's devices."""
    parts = [index[0] for index in sharding.addressable_devices_indices_map(values.shape).values() if index]
    starts, ends = zip(*(part.indices(len(values))[:2] for part in parts), strict=True)
    return values[min(starts) : max(ends)]


def _put(leaf: np.ndarray, sharding: NamedSharding, runs: int | None = None) -> jax.Array:
    """An array on the devices; `runs` is the total number of runs if the leaf has only those of this host."""
    shape = leaf.shape if runs is None else (runs, *leaf.shape[1:])
    return jax.make_array_from_process_local_data(sharding, leaf, shape)


def _over_runs(function: Callable, in_axes: tuple[int | None, ...], execution: Execution) -> Callable:
    """Map `function` over the leading axis of the arguments whose in_axes is 0: all at once, or in chunks."""
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
    """Combine the metrics of successive parts of an interval, given their numbers of steps."""
    counts = [count for count, _ in parts]

    def whole(name: str, values: list[np.ndarray]) -> np.ndarray:
        if name.startswith(step.EACH):
            return np.concatenate([value[:, :count] for value, count in zip(values, counts, strict=True)], axis=1)
        if name == "not_finite":
            return np.sum(values, axis=0)
        return np.max(values, axis=0) if name.startswith(step.PEAK) else np.average(values, axis=0, weights=counts)

    return {name: whole(name, [metrics[name] for _, metrics in parts]) for name in parts[0][1]}


def _stack(hyperparameters: Sequence[Hyperparameters]) -> Hyperparameters:
    """f32 arrays [runs], as a Python float and an f32 array would need two traces."""
    return jax.tree.map(lambda *values: np.array(values, np.float32), *hyperparameters)
