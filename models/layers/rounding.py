"""Numbers rounded to the values of a short format, as quantization leaves them, in float32."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Format = Literal["integer", "e4m3"]
E4M3_MAX = 448.0
"""The largest finite value of e4m3 (Micikevicius et al. 2022, arXiv:2209.05433)."""
SMALLEST_EXPONENT, MANTISSA_BITS = -6, 3


def rounded(
    x: Float[Array, "*shape"], limit: Float[Array, "*#shape"], levels: Float[Array, "*#shape"] | float, form: Format
) -> Float[Array, "*shape"]:
    """x, rounded to the nearest value of a symmetric grid on [-limit, limit]; values beyond the limit are clipped.

    The grid of "integer" has the values k limit/levels for whole numbers |k| <= levels: 127 of int8, 7 of int4. That of
    "e4m3" has the values of the 8-bit floating-point format, times limit/levels with 448 levels. Ties go to the even
    code. With a limit of 0, x is 0; with 0 levels it is not rounded.
    """
    step = limit / jnp.maximum(levels, 1)
    codes = jnp.clip(x / jnp.where(step > 0, step, 1), -levels, levels)
    codes = jnp.round(codes) if form == "integer" else e4m3(codes)
    return jnp.where(levels > 0, codes * step, x)


def e4m3(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x in [-448, 448], rounded to the nearest value of float8_e4m3fn: 3 bits of mantissa, subnormal below 2^-6.

    A conversion to the type and back may be removed by the compiler, which is allowed excess precision.
    """
    _, exponent = jnp.frexp(x)  # |x| in [2^(exponent - 1), 2^exponent)
    spacing = jnp.ldexp(jnp.ones_like(x), jnp.maximum(exponent - 1, SMALLEST_EXPONENT) - MANTISSA_BITS)
    return jnp.round(x / spacing) * spacing


def largest(x: Float[Array, "*shape"], axis: int | tuple[int, ...]) -> Float[Array, "*#shape"]:
    """The largest absolute value along the axes, which stay with length 1."""
    return jnp.abs(x).max(axis=axis, keepdims=True)
