"""Training many seeds on a CPU: tokens per second of this project and of PyTorch, alternating.

Command: python -m benchmarks.cpu --json docs/benchmarks/cpu-MACHINE.json
Cost:    about 20 minutes on 2 CPU cores, of which 5 compile; needs torch, and for torch.compile a C++ compiler
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import ablations
from benchmarks import measure, worker, workload
from benchmarks.worker import Worker
from benchmarks.workload import Size
from lab.probes.machine import CPU_SHAPES, matmul_rate
from lab.report.figures import BLUE, GREY, ORANGE, STYLE
from lab.training.runs import use_all_cores

SEEDS = 8
SPECIAL = 2  # tokens of a character vocabulary that are not characters


@dataclass(frozen=True)
class Target:
    """A model and the target speed of eight seeds."""

    size: Size
    ratio: float
    """Ratio to PyTorch's tokens per second."""
    share: float | None = None
    """Fraction of the rate of matrix products."""


TARGETS = {
    "128": Target(Size(d_model=128, n_layers=4, n_heads=4, context=64, batch_size=12), ratio=1.5, share=0.65),
    "64": Target(Size(d_model=64, n_layers=2, n_heads=4, context=64, batch_size=16), ratio=2.0),
    "256": Target(Size(d_model=256, n_layers=6, n_heads=4, context=128, batch_size=16), ratio=1.2, share=0.65),
}
JAX_SEEDS, ONE = f"JAX, {SEEDS} seeds", "JAX, 1 seed"
EAGER, COMPILED = "torch", "torch.compile"
PINNED, PINNED_COMPILED = "torch, one process per core", "torch.compile, a process a core"


def compared(target: Target, source: Path | None, rounds: int, seconds: float) -> dict[str, Any]:
    """Tokens per second of every side in each round, and FLOP/s of matrix products by each library."""
    size = target.size
    with ExitStack() as stack:
        sides = {
            name: workload.rate(workload.trainer(size, seeds), seeds * size.tokens, seconds)
            for name, seeds in ((JAX_SEEDS, SEEDS), (ONE, 1))
        }
        rates: dict[str, Callable[[], float]] = {
            "NumPy": matmul_rate,
            "XLA": partial(matmul_rate, numpy=jnp),
        }
        for name, workers in started(size, source, stack).items():
            sides[name] = workload.rate(partial(together, workers), len(workers) * size.tokens, seconds)
            if name == EAGER:
                rates["PyTorch"] = partial(workers[0].ask, matmul=CPU_SHAPES)
        measured = measure.in_turn(sides | rates, rounds)
    return {
        "target": asdict(target),
        "flops_per_token": workload.flops_per_token(size),
        "tokens_per_second": {name: measured[name] for name in sides},
        "matmul_flops": {name: measured[name] for name in rates},
    }


def started(size: Size, source: Path | None, stack: ExitStack) -> dict[str, list[Worker]]:
    """The processes of each PyTorch side, ended by the stack; those that cannot start are skipped with a message.

    A process trains one model, so eight runs take eight times as long. It has one thread per core, or there is one
    single-threaded process per core. AdamW is fused, except for the plain side, which is as nanoGPT on a CPU.
    """
    if not worker.has_torch():
        print(worker.WITHOUT)
        return {}
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    whole: list[dict[str, Any]] = [{"threads": len(cores) or None}]
    apart: list[dict[str, Any]] = [{"threads": 1, "cores": [core]} for core in cores]
    sides = {EAGER: whole, PINNED: apart}
    if shutil.which(os.environ.get("CXX", "g++")):
        sides |= {COMPILED: whole, PINNED_COMPILED: apart}
    else:
        print("torch.compile is left out: it needs a C++ compiler")
    found = {}
    for name, places in sides.items():
        how: dict[str, Any] = {"compile": name in (COMPILED, PINNED_COMPILED), "fused": name != EAGER, "source": source}
        workers = [stack.enter_context(Worker(size.peer, size.batch_size, **how, **place)) for place in places]
        try:
            for one in workers:
                one.receive()
            found[name] = workers
        except RuntimeError as error:
            print(f"{name} is left out: {error}")
    return found


def together(workers: Sequence[Worker], steps: int) -> float:
    """Seconds until all processes, running in parallel, have trained `steps` steps each."""
    begin = time.perf_counter()
    for one in workers:
        one.send(train=steps)
    for one in workers:
        one.receive()
    return time.perf_counter() - begin


def runner(size: Size, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per step of eight seeds as recorded by `ablations run`, and of the bare program, alternating."""
    train = workload.trainer(size, SEEDS)
    steps = measure.fitting(train, seconds, at_least=4)

    def recorded() -> float:
        with random_text() as text:
            asked = workload.experiment(size, SEEDS, f"text:{text}")
            settings = replace(asked.settings, steps=steps, evaluate_every=steps)
            found = ablations.run(replace(asked, settings=settings), text.parent / "results", quiet=True)
        return float(found.timing.loc[found.timing["kind"] == "train", "seconds"].sum() / steps)

    return measure.in_turn({"program": lambda: train(steps) / steps, "runner": recorded}, rounds)


@contextmanager
def random_text() -> Iterator[Path]:
    """A temporary file of a million random characters, with its prepared data beside it."""
    letters = np.arange(48, 48 + workload.CHARACTERS - SPECIAL, dtype=np.uint8)
    before = os.environ.get("TFDS_DATA_DIR")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_bytes(np.random.default_rng(0).choice(letters, 10**6).tobytes())
        os.environ["TFDS_DATA_DIR"] = folder
        try:
            yield path
        finally:
            del os.environ["TFDS_DATA_DIR"]
            if before is not None:
                os.environ["TFDS_DATA_DIR"] = before


def fastest(sides: dict[str, list[float]]) -> str:
    """The side with the largest median."""
    return max(sides, key=lambda name: np.median(sides[name]))


def verdicts(name: str, row: dict[str, Any]) -> Iterator[list[Any]]:
    """Lines of the table of targets: size, comparison, measured, target, met or not."""
    rates, products, target = row["tokens_per_second"], row["matmul_flops"], row["target"]
    peers = {side: values for side, values in rates.items() if side not in (JAX_SEEDS, ONE)}

    def line(what: str, values: list[float], wanted: float) -> list[Any]:
        met = "met" if np.median(values) >= wanted else "not met"
        return [name, what, measure.spread(values), wanted, met]

    if peers:
        best = fastest(peers)
        yield line(f"{SEEDS} seeds / {EAGER}", measure.ratios(rates[JAX_SEEDS], rates[EAGER]), target["ratio"])
        yield line(f"{SEEDS} seeds / {best}", measure.ratios(rates[JAX_SEEDS], rates[best]), 1.0)
        yield line(f"1 seed / {EAGER}", measure.ratios(rates[ONE], rates[EAGER]), 1.0)
    if target["share"]:
        reference = fastest(products)
        work = [row["flops_per_token"] * rate for rate in rates[JAX_SEEDS]]
        what = f"{SEEDS} seeds' FLOP/s / matrix products of {reference}"
        yield line(what, measure.ratios(work, products[reference]), target["share"])


def tables(results: dict[str, Any]) -> str:
    """Rates and verdicts as Markdown."""
    rates = [
        [name, side, f"{np.median(values):,.0f}", f"{row['flops_per_token'] * np.median(values) / 1e9:.0f}"]
        for name, row in results["sizes"].items()
        for side, values in row["tokens_per_second"].items()
    ]
    products = [
        [name, f"matrix products, {library}", "", f"{np.median(values) / 1e9:.0f}"]
        for name, row in results["sizes"].items()
        for library, values in row["matmul_flops"].items()
    ]
    wanted = [line for name, row in results["sizes"].items() for line in verdicts(name, row)]
    parts = [
        measure.markdown(["width", "side", "tokens/s", "GFLOP/s"], [*rates, *products]),
        measure.markdown(["width", "compared", "median (quartiles)", "target", "verdict"], wanted),
    ]
    overhead = measure.ratios(results["runner"]["runner"], results["runner"]["program"])
    parts.append(f"A step as `ablations run` records it / of the bare program: {measure.spread(overhead)}")
    return "\n\n".join(parts)


def figure(sizes: dict[str, Any]) -> Figure:
    """Tokens per second of every side, a panel per size; the target dashed."""
    with mpl.rc_context(STYLE):
        whole = Figure(figsize=(9.6, 2.6), layout="constrained")
        panels = whole.subplots(1, len(sizes), squeeze=False)[0]
        for axes, (name, row) in zip(panels, sorted(sizes.items(), key=lambda item: int(item[0])), strict=True):
            rates = row["tokens_per_second"]
            colours = [BLUE if side in (JAX_SEEDS, ONE) else ORANGE if side == EAGER else GREY for side in rates]
            target = row["target"]["ratio"] * np.median(rates[EAGER]) if EAGER in rates else None
            measure.dots(axes, rates, colours, target)
            axes.set(title=f"width {name}", xlabel="tokens per second", xlim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(4))  # a narrow panel has room for few
            axes.xaxis.set_major_formatter("{x:,.0f}")
            if axes is not panels[0]:
                axes.tick_params(labelleft=False)
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and with --json write all numbers and the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for the numbers; the figure is written beside it"
    )
    parser.add_argument("--peer", type=Path, metavar="DIR", help="a nanoGPT checkout, whose model.py is then the peer")
    parser.add_argument("--sizes", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="WIDTH")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of alternating measurements")
    parser.add_argument("--seconds", type=float, default=4.0, help="duration of each measurement")
    of = parser.parse_args(arguments)
    source = of.peer and of.peer / "model.py"
    if source and not source.exists():
        parser.error(f"--peer is {of.peer}: it must be a folder that holds nanoGPT's model.py")
    use_all_cores()
    about = measure.about(**worker.version())
    sizes = {name: compared(TARGETS[name], source, of.rounds, of.seconds) for name in of.sizes}
    through = runner(TARGETS[of.sizes[0]].size, min(of.rounds, 3), of.seconds)
    results = {**about, "peer": "nanoGPT" if source else "benchmarks.peer", "sizes": sizes, "runner": through}
    print(measure.heading(about, "torch"), tables(results), sep="\n\n")
    if of.json:
        measure.keep(of.json, results, figure(sizes), "Tokens per second on a CPU")


if __name__ == "__main__":
    main()
