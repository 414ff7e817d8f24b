"""Functions with an explicit derivative."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def with_slope(value_and_slope: Callable[..., Any]) -> Callable[..., Any]:
    """Turn an elementwise `x -> (value, slope)` into a differentiable `x -> value`.

    For slopes that automatic differentiation would compute with cancellation. Only `x` is saved for the backward pass.
    Further arguments are constants: the gradient in them is zero.
    """

    @jax.custom_jvp
    @functools.wraps(value_and_slope)
    def function(x, *constants):
        return value_and_slope(x, *constants)[0]

    @function.defjvp
    def _(primals, tangents):
        value, slope = value_and_slope(*primals)
        return value, slope * tangents[0]

    return function
