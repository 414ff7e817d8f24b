"""How long compiled programs take, side by side: the machine's noise is that of all of them."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

ROUNDS = 31
AT_LEAST = 0.002
"""Seconds of one measurement: shorter programs run several times in it."""


class Program(NamedTuple):
    """A compiled program with its arguments, and the bytes that it needs: arguments, outputs and temporary arrays."""

    call: Callable[[], Any]
    bytes: int


def program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Compiles a function for its arguments."""
    compiled = jax.jit(function).lower(*arguments).compile()
    memory = compiled.memory_analysis()
    sizes = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes) if memory else ()
    return Program(lambda: jax.block_until_ready(compiled(*arguments)), sum(sizes))


def seconds(programs: Sequence[Program], rounds: int = ROUNDS, rng: int = 0) -> Float[np.ndarray, "programs rounds"]:
    """Seconds of one call of every program, in rounds.

    Every round runs all programs in an order of its own, so that a slow moment of the machine is in one round and not
    in one program. Compare medians over rounds, and ratios within a round.
    """
    repeats = [_repeats(one) for one in programs]
    found, order = np.empty((len(programs), rounds)), np.random.default_rng(rng)
    for turn in range(rounds):
        for index in order.permutation(len(programs)):
            begin = time.perf_counter()
            for _ in range(repeats[index]):
                programs[index].call()
            found[index, turn] = (time.perf_counter() - begin) / repeats[index]
    return found


def _repeats(one: Program) -> int:
    one.call()  # the first call may still allocate
    begin = time.perf_counter()
    one.call()
    return max(1, round(AT_LEAST / max(time.perf_counter() - begin, 1e-9)))
