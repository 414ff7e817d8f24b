"""How training scales: tokens per second against seeds, and measured cost against the work of wider and deeper models.

Command: python -m benchmarks.scaling --json docs/benchmarks/scaling.json
Cost:    about 6 minutes on 2 CPU cores, of which half compiles
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import measure, workload
from benchmarks.workload import Size
from lab.report.figures import BLUE, INK, ORANGE, STYLE, TEAL
from lab.training.runs import use_all_cores

CPU = Size(d_model=64, n_layers=2, n_heads=4, context=64, batch_size=8)
ACCELERATOR = Size(d_model=256, n_layers=4, n_heads=4, context=128, batch_size=8, dtype="bfloat16")
SEEDS = (1, 2, 4, 8, 16, 32, 64)
FACTORS = {"width": (0.5, 1, 2, 4), "depth": (0.5, 1, 2, 4)}
FEW = 2  # seeds where the size varies


def points(base: Size, most: int) -> list[dict[str, Any]]:
    """What is measured: sweep, size and number of seeds, at most `most`."""
    seeds = [{"sweep": "seeds", "size": base, "seeds": n} for n in SEEDS if n <= most]
    widths = [replace(base, d_model=int(base.d_model * factor)) for factor in FACTORS["width"]]
    depths = [replace(base, n_layers=int(base.n_layers * factor)) for factor in FACTORS["depth"]]
    wide = [{"sweep": "width", "size": size, "seeds": min(FEW, most)} for size in widths]
    return [*seeds, *wide, *({"sweep": "depth", "size": size, "seeds": min(FEW, most)} for size in depths)]


def measured(chosen: Sequence[dict[str, Any]], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """The points with FLOPs of a step of all seeds, and tokens a second of them in each round, all in turn."""
    sides = {}
    rows: list[dict[str, Any]] = []
    for index, point in enumerate(chosen):
        size, seeds = point["size"], point["seeds"]
        tokens = seeds * size.tokens
        sides[str(index)] = workload.rate(workload.trainer(size, seeds), tokens, seconds)
        rows.append({**point, "size": asdict(size), "tokens": tokens, "flops": tokens * workload.flops_per_token(size)})
    rates = measure.in_turn(sides, rounds)
    return [{**row, "tokens_per_second": rates[str(index)]} for index, row in enumerate(rows)]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Medians as Markdown."""
    lines = []
    for row in rows:
        rate = np.median(row["tokens_per_second"])
        step = row["tokens"] / rate
        low, high = np.percentile(row["tokens_per_second"], (25, 75))
        shape = [row["sweep"], row["seeds"], row["size"]["d_model"], row["size"]["n_layers"]]
        rates = [f"{rate:,.0f} ({low:,.0f} to {high:,.0f})", f"{row['flops'] / step / 1e9:,.0f}"]
        lines.append([*shape, f"{row['flops'] / 1e9:.2f}", f"{1e3 * step:.1f}", *rates])
    columns = ["sweep", "seeds", "width", "layers", "GFLOP per step", "ms per step", "tokens/s (quartiles)", "GFLOP/s"]
    return measure.markdown(columns, lines)


def figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Left: tokens per second of all seeds together. Right: time against work; dashed: proportional to the
    largest model's."""
    with mpl.rc_context(STYLE):
        whole = Figure(figsize=(9.6, 3.2), layout="constrained")
        left, right = whole.subplots(1, 2)
        _line(left, [row for row in rows if row["sweep"] == "seeds"], lambda row: row["seeds"], _rates, BLUE, "seeds")
        left.set(xscale="log", xlabel="seeds", ylabel="tokens per second, all seeds", ylim=(0, None))
        ticks = [row["seeds"] for row in rows if row["sweep"] == "seeds"]
        left.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        left.minorticks_off()
        sized = [row for row in rows if row["sweep"] != "seeds"]
        for sweep, color in (("width", ORANGE), ("depth", TEAL)):
            _line(right, [row for row in sized if row["sweep"] == sweep], _work, _milliseconds, color, sweep)
        last = max(sized, key=_work)
        ends = np.array([min(map(_work, sized)), _work(last)])
        right.plot(
            ends, ends / _work(last) * np.median(_milliseconds(last)), color=INK, linewidth=1, linestyle="dashed"
        )
        right.set(xscale="log", yscale="log", xlabel="GFLOP of matrix products per step", ylabel="ms per step")
        right.legend()
    return whole


def _line(axes: Axes, rows: Sequence[dict[str, Any]], x: Any, y: Any, color: str, label: str) -> None:
    """A line through the medians, with a dot a measurement."""
    axes.plot(
        [x(row) for row in rows], [np.median(y(row)) for row in rows], "D-", markersize=4, color=color, label=label
    )
    for row in rows:
        values = y(row)
        axes.plot(np.full(len(values), x(row)), values, "o", markersize=3, alpha=0.4, markeredgewidth=0, color=color)


def _rates(row: dict[str, Any]) -> list[float]:
    return row["tokens_per_second"]


def _work(row: dict[str, Any]) -> float:
    return row["flops"] / 1e9


def _milliseconds(row: dict[str, Any]) -> list[float]:
    return [1e3 * row["tokens"] / rate for rate in row["tokens_per_second"]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and with --json write all numbers and the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="file for the numbers; the figure is written beside it"
    )
    parser.add_argument("--seeds", type=int, default=max(SEEDS), help="the most at once")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of alternating measurements")
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of each measurement")
    of = parser.parse_args(arguments)
    use_all_cores()
    about = measure.about()
    base = CPU if jax.default_backend() == "cpu" else ACCELERATOR
    rows = measured(points(base, of.seeds), of.rounds, of.seconds)
    print(measure.heading(about), table(rows), sep="\n\n")
    if of.json:
        measure.keep(of.json, {**about, "rows": rows}, figure(rows), "How training scales")


if __name__ == "__main__":
    main()
