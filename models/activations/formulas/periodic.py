"""Activations with sines, from EleutherAI/gpt-neo (models/activations.py) unless another source is given."""

import jax.numpy as jnp

from models.activations.formulas import Values
from models.activations.formulas.piecewise import relu
from models.activations.formulas.self_gated import gelu
from models.activations.formulas.slopes import with_slope


def snake(x: Values) -> Values:
    """`x + sin(x)^2` (Ziyin et al. 2020, arXiv:2006.08195, with a = 1)."""
    return x + jnp.square(jnp.sin(_finite(x)))


def cosid(x: Values) -> Values:
    """`cos(x) - x` (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return jnp.cos(_finite(x)) - x


def gelu_sine(x: Values) -> Values:
    """`GELU(x) + 0.1 sin(x)` (Vitvitskyi et al. 2026, arXiv:2602.05688)."""
    return gelu(x) + 0.1 * jnp.sin(jnp.where(x == jnp.inf, 0.0, x))  # it has a limit at inf, but none at -inf


def minsin(x: Values) -> Values:
    """`min(x, sin(x))`: `sin(x)` above 0, `x` below (arXiv:1710.05941)."""
    return jnp.where(x <= 0, x, jnp.sin(relu(x)))


@with_slope
def square_relax(x):
    """`cos(x) - cos(3x) / 3 + cos(5x) / 5 - cos(7x) / 7`, the start of a square wave's series."""
    s, c, twice = _angle(x)
    first, third, fifth, seventh = _odd_multiples(c, c * (twice - 1), twice)
    slope = s * twice * (twice * twice - 2)  # 4 sin(x) cos(2x) cos(4x), the sum of the four sines
    return first - third / 3 + fifth / 5 - seventh / 7, slope


@with_slope
def triangle_relax(x):
    """`sin(x) - sin(3x) / 9 + sin(5x) / 25 - sin(7x) / 49`, the start of a triangle wave's series."""
    s, _, twice = _angle(x)
    first, third, fifth, seventh = _odd_multiples(s, s * (twice + 1), twice)
    return first - third / 9 + fifth / 25 - seventh / 49, square_relax(x)


def _angle(x):
    """`sin(x)`, `cos(x)` and `2 cos(2x)`."""
    s, c = jnp.sin(x), jnp.cos(x)
    return s, c, 2 * (c - s) * (c + s)


def _odd_multiples(first, third, twice):
    """Sine or cosine of x, 3x, 5x and 7x by recurrence, as 7x itself is rounded (by 0.004 at x = 10,000)."""
    fifth = twice * third - first
    return first, third, fifth, twice * fifth - third


def _finite(x):
    return jnp.where(jnp.isinf(x), 0.0, x)  # sin(inf) is nan
