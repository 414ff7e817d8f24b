"""What an activation's function computes, and what it must be to be one: traced when the activation is made."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.identity import Identity, traced

WIDTH = 8
"""Of the arrays that a function is traced with, unless it holds arrays of another width."""


def identify(
    name: str,
    function: Callable[..., Any],
    gated: bool,
    parameters: tuple[tuple[str, Any], ...],
    sampled: Callable[..., Any] | None = None,
) -> Identity:
    """Of an activation: its values, its slopes in inputs and learned parameters, their initial values, and if it is
    stochastic a draw.

    Raises ValueError, in one sentence, for a function or draw that JAX cannot trace or that is not pure, and for one
    that gives something else than one floating-point array of its input's shape.
    """
    initial = {key: np.asarray(value, np.float32) for key, value in parameters}
    inputs = _inputs(_width(function, gated, initial), gated)

    def result(inputs: Any, learned: Any) -> Any:
        return function(*inputs, **learned)

    def drawn(inputs: Any, learned: Any) -> list[Any]:
        return [] if sampled is None else [sampled(jax.random.key(0), *inputs, **learned)]

    def whole(inputs: Any, learned: Any) -> Any:
        value, backward = jax.vjp(result, inputs, learned)
        result(inputs, learned)  # three calls in all: of an even number, one that alternates would give the same again
        slopes = backward(jnp.cos(np.arange(value.size).reshape(value.shape)).astype(value.dtype))
        starts = {key: jnp.asarray(start) for key, start in initial.items()}
        return result(inputs, learned), slopes, starts, *drawn(inputs, learned)

    owner = f"the function of activation '{name}'"
    _check(owner, traced(owner, jax.eval_shape, result, inputs, initial), inputs[0].shape)
    draw = f"`sampled` of activation '{name}'"
    for shape in traced(draw, jax.eval_shape, drawn, inputs, initial):
        _check(draw, shape, inputs[0].shape)
    return traced(owner, Identity, whole, inputs, initial)


def _inputs(width: int, gated: bool) -> list[np.ndarray]:
    """64 numbers, small, usual and large, in rows of a width, or two rows; value of a gated one are the same numbers
    in another order."""
    sizes = np.geomspace(1e-3, 1e3, 16)
    points = np.concatenate([np.linspace(-6, 6, 32), sizes, -sizes]).astype(np.float32)
    rng = np.random.default_rng(0)
    shape = (max(2, 64 // width), width)
    return [np.resize(rng.permutation(points), shape) for _ in range(2 if gated else 1)]


def _width(function: Callable[..., Any], gated: bool, initial: dict[str, np.ndarray]) -> int:
    """The width of the arrays that a function holds, such as a slope for each hidden unit, where it takes no other."""

    def width(given: int) -> int | None:
        inputs = _inputs(given, gated)
        try:
            return jax.eval_shape(lambda inputs, learned: function(*inputs, **learned), inputs, initial).shape[-1]
        except Exception:  # whatever a user's function raises: it is told where the function is traced
            return None

    return WIDTH if width(WIDTH) is not None else width(1) or WIDTH


def _check(owner: str, result: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError for a result that a feed-forward layer cannot go on with."""
    if not isinstance(result, jax.ShapeDtypeStruct):
        raise ValueError(f"{owner} must return one array, not {_kind(result)}")
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise ValueError(f"{owner} must return floating-point values, not {result.dtype}")
    if result.shape == (*shape[:-1], shape[-1] / 2):
        raise ValueError(
            f"{owner} halves the width: give a gated unit as function(gate, value), each of the whole width, with "
            f"gated=True"
        )
    if result.shape != shape:
        raise ValueError(f"{owner} must return the shape that it is given, not {list(result.shape)} for {list(shape)}")


def _kind(result: Any) -> str:
    return "None" if result is None else f"a {type(result).__name__}"
