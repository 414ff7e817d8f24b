"""Durations on a machine that has other work: several sides in turn, each for a given time."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


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


def of_calls(function: Callable[[], Any], seconds: float) -> Callable[[], float]:
    """A measurement of milliseconds per call, until the last result is ready, over as many calls as fit."""

    def calls(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            result = function()
        jax.block_until_ready(result)
        return time.perf_counter() - begin

    count = fitting(calls, seconds)
    return lambda: 1e3 * calls(count) / count
