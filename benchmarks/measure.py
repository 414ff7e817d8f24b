"""Shared by all benchmarks: alternating measurements, tables, and storage of results."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.files.atomic import write_bytes
from lab.report.figures import INK, standalone, svg
from lab.results.environment import environment


def in_turn(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The measurements of every side in each round: A B A B ..., so that other load on the machine affects all."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            measured[name].append(side())
    return measured


def fitting(work: Callable[[int], float], seconds: float, at_least: int = 1) -> int:
    """The number of steps of `work`, a function from steps to seconds, that fit in `seconds`, after a warmup."""
    work(1)
    return max(at_least, round(seconds / work(1)))


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Duration of a call, until its result is ready."""
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - begin


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Ratio of two sides in each round."""
    return [float(value) for value in np.divide(numerators, denominators)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and quartiles in words."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def about(**more: str) -> dict[str, Any]:
    """Date, commit, versions, machine and what else it is doing, as JSON; `more` are versions of further packages.

    Call this before measuring: `load` is the mean number of busy threads in the last minute.
    """
    devices = {"device": jax.devices()[0].device_kind, "device_count": jax.device_count()}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = {"date": str(date.today()), "load": load, **environment(devices, {})}
    return {**found, "versions": {**found["versions"], **more}}


def heading(about: dict[str, Any], *packages: str) -> str:
    """Date, machine, versions and load in one line, as a heading of a table."""
    known = about["versions"]
    versions = ", ".join(f"{name} {known[name]}" for name in ("jax", "jaxlib", *packages) if name in known)
    load = "" if about["load"] is None else f", load {about['load']:.1f} before"
    return f"{about['date']}, {about['device_count']} x {about['device']} ({about['processor']}), {versions}{load}"


def write(path: Path, results: dict[str, Any]) -> None:
    """Write the numbers as JSON."""
    write_bytes(path, (json.dumps(results, indent=1) + "\n").encode())


def keep(path: Path, results: dict[str, Any], figure: Figure, title: str) -> None:
    """Write the numbers as JSON and the figure beside them as SVG."""
    write(path, results)
    write_bytes(path.with_suffix(".svg"), standalone(svg(figure, title)).encode())


def dots(
    axes: Axes,
    values: Mapping[str, Sequence[float]],
    colours: Sequence[str],
    target: float | None = None,
    middle: Callable[[Sequence[float]], Any] = np.median,
) -> None:
    """One row per name, from the top: one dot per measurement, a diamond for the median; dashed: the target."""
    for height, (numbers, colour) in enumerate(zip(values.values(), colours, strict=True)):
        axes.plot(numbers, np.full(len(numbers), height), "o", markersize=4, alpha=0.4, markeredgewidth=0, color=colour)
        axes.plot(middle(numbers), height, "D", markersize=6, color=colour)
    if target is not None:
        axes.axvline(target, color=INK, linewidth=1, linestyle="dashed")
    axes.set(yticks=range(len(values)), ylim=(len(values) - 0.5, -0.5))
    axes.set_yticklabels(list(values))
