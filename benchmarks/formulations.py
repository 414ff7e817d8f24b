"""Alternative formulations of the same computation: the time of the alternative relative to this code.

Command: python -m benchmarks.formulations --json docs/benchmarks/formulations.json
Cost:    about 8 minutes on 2 CPU cores, half of it compiling
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jax import lax
from matplotlib.figure import Figure

from benchmarks import measure, workload
from benchmarks.workload import Size
from lab.experiment.experiment import grid
from lab.experiment.fields import with_fields
from lab.report.figures import BLUE, STYLE
from lab.training.runs import use_all_cores
from models.activations.formulas.self_gated import gelu
from models.layers.attention import attend
from models.layers.dense import project

SIZE = Size(d_model=128, n_layers=4, n_heads=4, context=64, batch_size=12)
SEEDS = 4

# Full training steps: what is varied, and the fields (or the execution) of the alternative.
STEPS: dict[str, dict[str, Any]] = {
    "runs one after another / vmapped": {"kind": "vmap"},
    "layers unrolled / scanned": {"model.scan": True},
    "blocks kept for the backward pass / recomputed": {"model.remat": True},
    "whole batch / in 4 parts": {"settings.accumulate": 4},
    "all logits at once / in chunks of 192 tokens": {"model.logit_chunk": 192},
}

Pair = tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]  # ours, the other, their arguments


def parts(size: Size, dtype: str) -> dict[str, Pair]:
    """Parts of a training step, forward and backward: ours, the alternative, and the arrays of both."""
    rows, width, hidden = size.tokens, size.d_model, 4 * size.d_model
    random = np.random.default_rng(0)

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(random.standard_normal(shape), dtype)

    heads = (size.batch_size, size.n_heads, size.context, width // size.n_heads)
    causal = jnp.tril(jnp.ones((size.context, size.context), bool))[None, None]
    three, two = [array(width, width) for _ in range(3)], [array(width, hidden) for _ in range(2)]
    return {
        "GELU by one exponential / by erfc": (gelu, _gelu_erfc, (array(rows, hidden),)),
        "GELU recomputed / its derivative kept": (jax.checkpoint(gelu), gelu, (array(rows, hidden),)),
        "GELU accurate in the tail / 1 + erf": (gelu, _gelu_erf, (array(rows, hidden),)),
        "attention / jax.nn.dot_product_attention": (
            partial(attend, allowed=causal),
            _dot_product_attention,
            (array(*heads), array(*heads), array(*heads)),
        ),
        "separate query, key, value / one product": (_apart, _joint, (array(rows, width), *three)),
        "separate gate and value / one product": (_apart, _joint, (array(rows, width), *two)),
        "rows flattened for a dense layer / not flattened": (
            lambda x, kernel: project(x, kernel, dtype),
            jnp.dot,
            (array(size.batch_size, size.context, width), two[0]),
        ),
    }


def _gelu_erfc(x: jax.Array) -> jax.Array:
    return 0.5 * x * lax.erfc(-math.sqrt(0.5) * x)


def _gelu_erf(x: jax.Array) -> jax.Array:
    return 0.5 * x * (1 + lax.erf(math.sqrt(0.5) * x))


def _dot_product_attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    swapped = (x.swapaxes(1, 2) for x in (query, key, value))
    return jax.nn.dot_product_attention(*swapped, is_causal=True).swapaxes(1, 2)


def _apart(x: jax.Array, *kernels: jax.Array) -> list[jax.Array]:
    return [project(x, kernel, str(x.dtype)) for kernel in kernels]


def _joint(x: jax.Array, *kernels: jax.Array) -> list[jax.Array]:
    return jnp.split(project(x, jnp.concatenate(kernels, axis=1), str(x.dtype)), len(kernels), axis=1)


def forward_and_backward(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[int], float]:
    """A function that runs both passes n times in one program, and returns the seconds.

    Each repetition reads the output of the previous one, so that none can be removed or moved.
    """

    def repeated(times: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        def body(_: Any, current: tuple[Any, ...]) -> tuple[Any, ...]:
            outputs, backward = jax.vjp(function, *current)
            gradients = backward(outputs)
            return tuple((x + 1e-6 * gradient).astype(x.dtype) for x, gradient in zip(current, gradients, strict=True))

        return lax.fori_loop(0, times, body, arguments)

    program = jax.jit(repeated)
    return lambda times: measure.seconds(program, times, arguments)


def training(changes: Mapping[str, Any]) -> Callable[[int], float]:
    """A function that trains all seeds for n steps and returns the seconds."""
    fields = {path: value for path, value in changes.items() if path != "kind"}
    cell = grid(with_fields(workload.experiment(SIZE, SEEDS), fields))[0]
    return workload.trainer_of(cell, workload.random_tokens(SIZE), changes.get("kind", "auto"))


def duels(dtype: str) -> dict[str, tuple[Callable[[int], float], Callable[[int], float]]]:
    """Our code and the alternative for each case, as functions from a number of repetitions to seconds."""
    ours = training({})
    whole = {name: (ours, training(changes)) for name, changes in STEPS.items()}
    pairs = parts(SIZE, dtype)
    return whole | {
        name: (forward_and_backward(one, arguments), forward_and_backward(other, arguments))
        for name, (one, other, arguments) in pairs.items()
    }


def measured(dtype: str, rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Seconds per repetition of ours and of the alternative, alternating, in each round."""
    found = {}
    for name, sides in duels(dtype).items():
        times = [measure.fitting(side, seconds) for side in sides]
        named = {
            label: lambda side=side, n=n: side(n) / n
            for label, side, n in zip(("ours", "other"), sides, times, strict=True)
        }
        found[name] = measure.in_turn(named, rounds)
    return found


def table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Median milliseconds of both, and the median ratio with quartiles."""
    rows = [
        (
            name,
            f"{1e3 * np.median(row['ours']):.3g}",
            f"{1e3 * np.median(row['other']):.3g}",
            measure.spread(measure.ratios(row["other"], row["ours"])),
        )
        for name, row in found.items()
    ]
    return measure.markdown(("ours / the other way", "ours, ms", "other, ms", "other / ours (quartiles)"), rows)


def figure(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The ratios; to the right of the line the alternative is slower."""
    with mpl.rc_context(STYLE):
        whole = Figure(figsize=(9.6, 0.6 + 0.32 * len(found)), layout="constrained")
        axes = whole.subplots()
        ratios = {name: measure.ratios(row["other"], row["ours"]) for name, row in found.items()}
        measure.dots(axes, ratios, [BLUE] * len(ratios), target=1.0)
        axes.set(xlabel="time of the alternative / time of this repository")
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and with --json write all numbers and the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.formulations", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for the numbers; the figure is written beside it"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the parts of a step")
    parser.add_argument("--rounds", type=int, default=9, help="pairs of measurements")
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of each measurement")
    of = parser.parse_args(arguments)
    use_all_cores()
    about = measure.about()
    found = measured(of.dtype, of.rounds, of.seconds)
    print(f"{measure.heading(about)}\n\n{table(found)}")
    if of.json:
        measure.keep(of.json, {**about, "dtype": of.dtype, "seconds": found}, figure(found), "Ways to compute the same")


if __name__ == "__main__":
    main()
