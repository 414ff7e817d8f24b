"""The cost of activations: time and memory of forward and backward pass, compared with ReLU.

Command: python -m benchmarks.activations --json docs/benchmarks/activations.json
Cost:    about 5 minutes on 2 CPU cores
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks import measure
from lab.report.figures import STYLE, colour
from models.activations import ACTIVATIONS, activation

TYPES = ("float32", "bfloat16")
BASELINE = "relu"
CPU_ARRAY, ACCELERATOR_ARRAY = (
    (4096, 512),
    (65536, 3072),
)  # rows and hidden width; large enough to hide a kernel's launch


def programs(name: str, arrays: Sequence[jax.Array]) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
    """The compiled passes of an activation, and their memory; the last of the three `arrays` is the cotangent.

    forward returns the output; backward returns the gradients of inputs and learned parameters, recomputing what it
    needs of the forward pass, as XLA does in a full step. `kept` are the bytes that the program as written saves for
    the backward pass, `temporary` those that the compiled backward pass needs in addition to arguments and results.
    """
    chosen = activation(name)
    learned = {parameter: jnp.asarray(value, jnp.float32) for parameter, value in chosen.parameters}
    inputs, cotangent = arrays[: 2 if chosen.gated else 1], arrays[-1]

    def forward(inputs: Any, learned: Any) -> Any:
        return chosen(*inputs, **learned)

    def backward(inputs: Any, learned: Any, cotangent: Any) -> Any:
        return jax.vjp(forward, inputs, learned)[1](cotangent)

    ahead = jax.jit(forward).lower(inputs, learned).compile()
    back = jax.jit(backward).lower(inputs, learned, cotangent).compile()
    passes = {"forward": lambda: ahead(inputs, learned), "backward": lambda: back(inputs, learned, cotangent)}
    analysis: Any = back.memory_analysis()
    return passes, {"kept": _kept(forward, inputs, learned), "temporary": int(analysis.temp_size_in_bytes)}


def _kept(forward: Callable[..., Any], *arguments: Any) -> int:
    """Bytes of the residuals of the backward pass."""
    residuals = jax.eval_shape(lambda *given: jax.tree.leaves(jax.vjp(forward, *given)[1]), *arguments)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in residuals)


def measured(
    names: Sequence[str], shape: tuple[int, int], rounds: int, seconds: float, types: Sequence[str] = TYPES
) -> list[dict[str, Any]]:
    """One row per activation and type: ms of both passes in each round, and bytes; all alternating."""
    rows: list[dict[str, Any]] = []
    sides: dict[str, Callable[[], float]] = {}
    for dtype in types:
        arrays = [jax.random.normal(key, shape, dtype) for key in jax.random.split(jax.random.key(0), 3)]
        for name in names:
            passes, taken = programs(name, arrays)
            rows.append({"activation": name, "dtype": dtype, **taken})
            sides |= {f"{name} {dtype} {kind}": timed(function, seconds) for kind, function in passes.items()}
    times = measure.in_turn(sides, rounds)
    for row in rows:
        row |= {kind: times[f"{row['activation']} {row['dtype']} {kind}"] for kind in ("forward", "backward")}
    return rows


def timed(function: Callable[[], Any], seconds: float) -> Callable[[], float]:
    """A measurement of milliseconds per call, over as many calls as fit."""

    def calls(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            result = function()
        jax.block_until_ready(result)
        return time.perf_counter() - begin

    count = measure.fitting(calls, seconds)
    return lambda: 1e3 * calls(count) / count


def ratios(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[float]]:
    """(activation, type) -> time of both passes relative to ReLU's in each round, sorted by cost in the first type."""
    whole = {(row["activation"], row["dtype"]): np.add(row["forward"], row["backward"]) for row in rows}
    found = {key: measure.ratios(list(times), list(whole[BASELINE, key[1]])) for key, times in whole.items()}
    first = rows[0]["dtype"]
    return dict(sorted(found.items(), key=lambda item: np.median(found[item[0][0], first])))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Medians as Markdown, cheapest first."""
    by_key = {(row["activation"], row["dtype"]): row for row in rows}
    lines = []
    for (name, dtype), values in ratios(rows).items():
        row = by_key[name, dtype]
        times = [f"{np.median(row[kind]):.3f}" for kind in ("forward", "backward")]
        memory = [f"{row[kind] / 1e6:.1f}" for kind in ("kept", "temporary")]
        lines.append([name, dtype, *times, measure.spread(values), *memory])
    columns = ["activation", "type", "forward, ms", "backward, ms", "both / ReLU's (quartiles)", "kept, MB"]
    return measure.markdown([*columns, "temporary, MB"], lines)


def figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Time of both passes relative to ReLU's, one panel per type, one dot per round, in the order of f32."""
    found = ratios(rows)
    names = [name for name, dtype in found if dtype == TYPES[0]]
    with mpl.rc_context(STYLE):
        whole = Figure(figsize=(9.6, 0.8 + 0.19 * len(names)), layout="constrained")
        for axes, dtype in zip(whole.subplots(1, len(TYPES), sharey=True), TYPES, strict=True):
            measure.dots(axes, {name: found[name, dtype] for name in names}, [colour(name) for name in names])
            axes.set(title=dtype, xlabel="time of both passes / ReLU", xscale="log")
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and with --json write all numbers and the figure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.activations", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for the numbers; the figure is written beside it"
    )
    parser.add_argument("--activations", nargs="+", choices=ACTIVATIONS, default=list(ACTIVATIONS), metavar="NAME")
    parser.add_argument("--rows", type=int, help="of the arrays: 4096 on a CPU, 65536 elsewhere")
    parser.add_argument("--width", type=int, help="of the arrays, the hidden width: 512 on a CPU, 3072 elsewhere")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of alternating measurements")
    parser.add_argument("--seconds", type=float, default=0.05, help="duration of each measurement")
    of = parser.parse_args(arguments)
    about = measure.about()
    shape = shape_of(of.rows, of.width)
    rows = measured(list(dict.fromkeys((BASELINE, *of.activations))), shape, of.rounds, of.seconds)
    print(measure.heading(about), f"arrays of {shape[0]} x {shape[1]}", table(rows), sep="\n\n")
    if of.json:
        measure.keep(of.json, {**about, "shape": shape, "rows": rows}, figure(rows), "What an activation costs")


def shape_of(rows: int | None, width: int | None) -> tuple[int, int]:
    """Rows and width of the arrays, with defaults by the kind of device."""
    usual = CPU_ARRAY if jax.default_backend() == "cpu" else ACCELERATOR_ARRAY
    return rows or usual[0], width or usual[1]


if __name__ == "__main__":
    main()
