"""Functions that give their own derivative."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def with_slope(value_and_slope: Callable[..., Any]) -> Callable[..., Any]:
    """Make a differentiable `x -> value` of an elementwise `x -> (value, slope)`.

    For slopes that differentiation would form by cancellation. Only `x` is kept for the backward pass.
    """

    @jax.custom_jvp
    @functools.wraps(value_and_slope)
    def function(x):
        return value_and_slope(x)[0]

    @function.defjvp
    def _(primals, tangents):
        value, slope = value_and_slope(*primals)
        return value, slope * tangents[0]

    return function
