"""Speed on one NVIDIA GPU: many small runs at once, one larger run, activations, attention, cross-entropy.

Command: python -m benchmarks.gpu --json docs/benchmarks/gpu.json
Cost:    at most 9 minutes; every section is a process that is stopped at its time limit and keeps its results
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
from matplotlib.figure import Figure

from benchmarks import activations, measure, worker, workload
from benchmarks.worker import Worker
from benchmarks.workload import Size
from lab.probes.machine import Shape, matmul_rate
from lab.report.figures import BLUE, STYLE, colour
from lab.tasks.task import of_each_token
from models.layers.attention import attend
from models.layers.logits import Logits

Rows = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Scale:
    """Sizes and durations of the measurements."""

    small: Size
    large: Size
    seeds: int
    """Of the small model, at once."""
    curve: tuple[int, ...]
    """Numbers of seeds of the small model, most important first."""
    products: tuple[Shape, ...]
    activations: tuple[int, int]
    rounds: int
    seconds: float
    compile: bool
    """Whether PyTorch compiles."""


GPU = Scale(
    small=Size(d_model=128, n_layers=5, n_heads=4, context=128, batch_size=16, dtype="bfloat16"),  # a million
    # GPT-2 small, 124 million; the vocabulary is padded to a multiple of 64.
    large=Size(768, 12, 12, context=1024, batch_size=16, vocab_size=50304, dtype="bfloat16"),
    seeds=32,
    curve=(8, 32, 2, 4, 16, 64, 128, 256),
    products=((4096, 4096, 4096), (8192, 8192, 8192)),
    activations=activations.ACCELERATOR_ARRAY,
    rounds=7,
    seconds=0.5,
    compile=True,
)
TINY = Scale(
    small=Size(d_model=16, n_layers=1, n_heads=2, context=8, batch_size=2),
    large=Size(d_model=16, n_layers=1, n_heads=2, context=8, batch_size=2, dtype="bfloat16"),
    seeds=2,
    curve=(2,),
    products=((16, 16, 16),),
    activations=(16, 16),
    rounds=2,
    seconds=0.0,
    compile=False,
)
COMPARED = ("relu", "gelu", "gelu_tanh", "gelu_quick", "silu", "relu2", "mish", "xielu", "reglu", "geglu", "swiglu")
PARTS = 8  # of the tokens


def machine(scale: Scale) -> Rows:
    """Versions, and the rates of matrix products with which the other sections are compared."""
    rates = {dtype: matmul_rate(scale.products, dtype) for dtype in ("bfloat16", "float32")}
    yield {**measure.about(**worker.version()), "matmul_flops": rates}


def seeds(scale: Scale) -> Rows:
    """Many seeds of a small model at once, compared with sequential training in PyTorch."""
    yield from _against_torch(scale, scale.small, scale.seeds)


def gpt2(scale: Scale) -> Rows:
    """One run of GPT-2 small; the batch is halved until it fits."""
    size = scale.large
    while True:
        try:
            yield from _against_torch(scale, size, 1)
            return
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or size.batch_size == 1:
                raise
            size = replace(size, batch_size=size.batch_size // 2)


def curve(scale: Scale) -> Rows:
    """Milliseconds per step for each number of seeds, alternating with one seed."""
    tokens = scale.small.tokens
    one = workload.rate(workload.trainer(scale.small, 1), tokens, scale.seconds)
    for count in scale.curve:
        many = workload.rate(workload.trainer(scale.small, count), tokens, scale.seconds)
        rates = measure.in_turn({"one": one, "many": many}, scale.rounds)
        yield {"seeds": count, **{name: [1e3 * tokens / rate for rate in values] for name, values in rates.items()}}


def pointwise(scale: Scale) -> Rows:
    """Activations in bfloat16."""
    yield from activations.measured(COMPARED, scale.activations, scale.rounds, scale.seconds / 10, ("bfloat16",))


def attention(scale: Scale) -> Rows:
    """Forward and backward pass of causal attention, by the models and by JAX's implementations."""
    size = scale.large
    shape = (size.batch_size, size.context, size.n_heads, size.d_model // size.n_heads)
    arrays = [jax.random.normal(key, shape, jnp.bfloat16) for key in jax.random.split(jax.random.key(0), 4)]
    seen = jnp.tril(jnp.ones((size.context, size.context), bool))[None, None]

    def ours(*inputs: jax.Array) -> jax.Array:
        query, key, value = (x.swapaxes(1, 2) for x in inputs)
        return attend(query, key, value, allowed=seen).swapaxes(1, 2)

    ways = {f"jax.nn {kind}": partial(_jax_attention, kind) for kind in ("xla", "cudnn")}
    yield from _passes({"models.layers.attention": ours, **ways}, arrays[:3], arrays[3], scale)


def cross_entropy(scale: Scale) -> Rows:
    """Forward and backward pass from the last hidden states to the loss, whole and in parts of the tokens."""
    size = scale.large
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (size.tokens, size.d_model), jnp.bfloat16)
    table = jax.random.normal(keys[1], (size.vocab_size, size.d_model), jnp.bfloat16)
    targets = jax.random.randint(keys[2], (size.tokens,), 0, size.vocab_size)

    def loss(chunk: int, hidden: jax.Array, table: jax.Array) -> jax.Array:
        logits = Logits(hidden, table.T, None, None, chunk or size.tokens)
        whole = logits if chunk else jnp.asarray(logits)
        return of_each_token(optax.softmax_cross_entropy_with_integer_labels, whole, targets).mean()

    ways = {"whole": partial(loss, 0), "in parts": partial(loss, size.tokens // PARTS)}
    yield from _passes(ways, [hidden, table], jnp.ones(()), scale)


SECTIONS: dict[str, tuple[Callable[[Scale], Rows], float]] = {  # and the seconds that each may take: 530 together
    "machine": (machine, 40),
    "seeds": (seeds, 110),
    "gpt2": (gpt2, 140),
    "curve": (curve, 110),
    "activations": (pointwise, 50),
    "attention": (attention, 40),
    "cross_entropy": (cross_entropy, 40),
}


def _against_torch(scale: Scale, size: Size, count: int) -> Rows:
    """Tokens per second of `count` seeds together and of PyTorch, alternating; ours alone first, if torch fails."""
    ours = workload.rate(workload.trainer(size, count), count * size.tokens, scale.seconds)
    row = {"size": asdict(size), "seeds": count, "flops_per_token": workload.flops_per_token(size)}
    yield {**row, "JAX": measure.in_turn({"JAX": ours}, scale.rounds)["JAX"]}
    if not worker.has_torch():
        print(worker.WITHOUT)
        return
    with Worker(size.peer, size.batch_size, _device(), size.dtype == "bfloat16", scale.compile, fused=True) as torch:
        torch.receive()
        theirs = workload.rate(lambda steps: torch.ask(train=steps), size.tokens, scale.seconds)
        yield {**row, **measure.in_turn({"JAX": ours, "torch": theirs}, scale.rounds)}


def _device() -> str:
    """The default device by PyTorch's name."""
    return "cpu" if jax.default_backend() == "cpu" else "cuda"


def _jax_attention(implementation: Any, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(query, key, value, is_causal=True, implementation=implementation)


def _passes(ways: dict[str, Any], inputs: list[jax.Array], cotangent: jax.Array, scale: Scale) -> Rows:
    """Milliseconds and temporary bytes of the forward and backward pass of each way; one that fails says why."""
    sides, taken = {}, {}
    for name, function in ways.items():

        def both(inputs: Any, cotangent: jax.Array, function: Any = function) -> Any:
            value, backward = jax.vjp(function, *inputs)
            return value, backward(cotangent)

        try:
            compiled = jax.jit(both).lower(inputs, cotangent).compile()
            sides[name] = activations.timed(partial(compiled, inputs, cotangent), scale.seconds / 5)
        except Exception as error:  # JAX, XLA and cuDNN raise different ones
            yield {"way": name, "failed": str(error).splitlines()[0][:200]}
            continue
        analysis: Any = compiled.memory_analysis()
        taken[name] = int(analysis.temp_size_in_bytes)
    for name, values in measure.in_turn(sides, scale.rounds).items():
        yield {"way": name, "ms": values, "temporary": taken[name]}


def section(name: str, tiny: bool) -> dict[str, Any]:
    """The measurements of a section, run as a separate process, until it finished, failed or ran out of time."""
    limit = SECTIONS[name][1]
    command = [sys.executable, "-m", "benchmarks.gpu", "--section", name, *(["--tiny"] if tiny else [])]
    share = "0.6" if name in ("seeds", "gpt2") else "0.9"  # of the GPU's memory; the rest is for PyTorch
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as answers:
        process = subprocess.Popen(
            command,
            stdout=answers,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "XLA_PYTHON_CLIENT_MEM_FRACTION": share},
            start_new_session=True,  # so that its subprocesses end with it
        )
        try:
            code = process.wait(limit)
            ended = "done" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit:.0f} s"
        finally:
            _end(process)
        answers.seek(0)
        rows = [json.loads(line) for line in answers if line.startswith("{") and line.endswith("}\n")]
    return {"ended": ended, "seconds": time.perf_counter() - begin, "rows": rows}


def _end(process: subprocess.Popen) -> None:
    """End a process and everything that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _answers() -> Iterator[Any]:
    """The stream for a section's rows; all other output goes to the terminal."""
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        yield answers
    finally:
        sys.stdout = answers


def verdicts(sections: dict[str, Any]) -> list[list[Any]]:
    """Lines of the table of targets that have been measured."""
    rows = {name: found["rows"] for name, found in sections.items()}
    lines = []

    def line(what: str, values: Sequence[float], target: float, most: bool = False) -> None:
        middle = np.median(values)
        met = middle <= target if most else middle >= target
        lines.append([what, measure.spread(values), f"{'at most' if most else 'at least'} {target}", _met(met)])

    for name, target in (("seeds", 20.0), ("gpt2", 1.1)):
        for row in rows.get(name, [])[-1:]:
            if "torch" in row:
                what = f"{row['seeds']} seeds of width {row['size']['d_model']}, tokens/s over PyTorch's in turn"
                line(what, measure.ratios(row["JAX"], row["torch"]), target)
    for row in rows.get("gpt2", [])[-1:]:
        for known in rows.get("machine", []):
            rate = known["matmul_flops"]["bfloat16"]
            line("GPT-2 small, share of the matrix products' rate", _shares(row, rate), 0.5)
    for row in sorted(rows.get("curve", []), key=lambda row: row["seeds"]):
        line(f"one more seed of {row['seeds']}, share of the first", more(row), 0.15, most=True)
    return lines


def more(row: dict[str, Any]) -> list[float]:
    """The cost of one more seed as a fraction of the first, from a row of `curve`."""
    return [(many / one - 1) / (row["seeds"] - 1) for many, one in zip(row["many"], row["one"], strict=True)]


def _shares(row: dict[str, Any], rate: float) -> list[float]:
    return [row["flops_per_token"] * tokens / rate for tokens in row["JAX"]]


def _met(met: Any) -> str:
    return "met" if met else "not met"


def tables(sections: dict[str, Any]) -> str:
    """How every section ended, the targets, and the rows of those that have none, as Markdown."""
    ended = [[name, f"{found['seconds']:.0f}", found["ended"]] for name, found in sections.items()]
    parts = [
        measure.markdown(["section", "seconds", "ended"], ended),
        measure.markdown(["compared", "median (quartiles)", "target", "verdict"], verdicts(sections)),
    ]
    ways = [
        [name, row["way"], *_way(row)]
        for name in ("attention", "cross_entropy")
        for row in sections.get(name, {"rows": []})["rows"]
    ]
    parts.append(measure.markdown(["section", "way", "forward and backward, ms", "temporary, MB"], ways))
    if found := sections.get("activations", {"rows": []})["rows"]:
        parts.append(activations.table(found))
    return "\n\n".join(parts)


def _way(row: dict[str, Any]) -> list[str]:
    if "failed" in row:
        return [row["failed"], ""]
    return [measure.spread(row["ms"], 3), f"{row['temporary'] / 1e6:.1f}"]


def figure(sections: dict[str, Any]) -> Figure:
    """Left milliseconds a step over seeds, right activations in bfloat16 against ReLU."""
    with mpl.rc_context(STYLE):
        whole = Figure(figsize=(9.6, 3.2), layout="constrained")
        left, right = whole.subplots(1, 2)
        for row in sections["curve"]["rows"]:
            left.plot(row["seeds"], np.median(row["many"]), "D", color=BLUE)
            left.plot(1, np.median(row["one"]), "D", color=BLUE)
        left.set(xscale="log", yscale="log", xlabel="seeds", ylabel="ms per step of all seeds")
        if rows := sections["activations"]["rows"]:
            values = {name: times for (name, _), times in activations.ratios(rows).items()}
            measure.dots(right, values, [colour(name) for name in values])
            right.set(xlabel="forward and backward / ReLU's, bfloat16", xscale="log")
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the sections one after another, and writes the numbers after each; then the tables and the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for the numbers; the figure is written beside it"
    )
    parser.add_argument("--tiny", action="store_true", help="sizes that show on a CPU that the command works")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="NAME")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    of = parser.parse_args(arguments)
    if of.section:
        with _answers() as answers:
            for row in SECTIONS[of.section][0](TINY if of.tiny else GPU):
                print(json.dumps(row), file=answers, flush=True)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the section at work is ended too
    found: dict[str, Any] = {}
    for name in of.sections:
        found[name] = section(name, of.tiny)
        print(f"{name}: {found[name]['ended']}", file=sys.stderr)
        if of.json:
            measure.write(of.json, {"sections": found})
    for row in found.get("machine", {"rows": []})["rows"]:
        print(measure.heading(row, "torch"), end="\n\n")
    print(tables(found))
    if of.json and {"curve", "activations"} <= set(found):
        measure.keep(of.json, {"sections": found}, figure(found), "One GPU")


if __name__ == "__main__":
    main()
