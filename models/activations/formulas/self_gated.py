"""Self-gated activations: `x * gate(x)`, with a gate that rises from 0 to 1."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from models.activations.formulas import Values
from models.activations.formulas.exponential import exp, minus_magnitude, sigmoid_and_slope
from models.activations.formulas.slopes import with_slope

_GATE_IS_ZERO, _GATE_IS_ONE = -1000.0, 40.0  # beyond these, all gates below are exactly 0 and 1, in float32 and float64


def _self_gated(gate: Callable[..., Any]) -> Callable[..., Any]:
    """Return `x * gate(x)` for a function that returns the gate and its slope.

    The slope is explicit because automatic differentiation would suffer from cancellation: 1 - gate, off by 6e-8, is
    multiplied by x and by the gate's inner derivative, an error of up to 3e-6 for mish and gelu_tanh.
    """

    @with_slope
    @functools.wraps(gate)
    def function(x):
        bounded = jnp.clip(x, _GATE_IS_ZERO, _GATE_IS_ONE)
        g, slope = gate(bounded)
        return jnp.maximum(x, _GATE_IS_ZERO) * g, g + bounded * slope  # the maximum: -inf * 0 is nan

    return function


# Phi(-a) / exp(-a^2 / 2) for a >= 0 is t times a polynomial in t = 1 / (1 + a / 4). The coefficients of 1, t, t^2, ...
# minimize the maximum relative error (4e-8) and were found by iteratively reweighted least squares.
_TAIL = (
    0.0997355667,
    0.0997364316,
    0.0934663553,
    0.0816031101,
    0.0589751358,
    0.0636991726,
    -0.0317176601,
    0.0955972483,
    -0.0808774105,
    0.0197820332,
)


@_self_gated
def gelu(x):
    """`x Phi(x)`, exact (Hendrycks & Gimpel 2016, arXiv:1606.08415); PyTorch's default, not JAX's."""
    bell, minus = exp(-0.5 * x * x), minus_magnitude(x)
    if x.dtype == jnp.float32:  # erfc, which computes the exponential again, takes twice as long on a CPU
        t = 1 / (1 - 0.25 * minus)
        tail = bell * t * jnp.polyval(jnp.array(_TAIL[::-1], jnp.float32), t)
    else:
        tail = 0.5 * lax.erfc(-math.sqrt(0.5) * minus)
    return jnp.where(x <= 0, tail, 1 - tail), bell / math.sqrt(2 * math.pi)


@_self_gated
def gelu_tanh(x):
    """`x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`, as in GPT-2, T5 v1.1, Gemma and `jax.nn.gelu`."""
    scale, cubic = 2 * math.sqrt(2 / math.pi), 0.044715
    gate, slope = sigmoid_and_slope(scale * x * (1 + cubic * x * x))  # (1 + tanh(u)) / 2 = sigmoid(2u) keeps the tail
    return gate, slope * scale * (1 + 3 * cubic * x * x)


@_self_gated
def gelu_quick(x):
    """`x sigmoid(1.702 x)`, the approximation of CLIP (arXiv:1606.08415, section 2)."""
    gate, slope = sigmoid_and_slope(1.702 * x)
    return gate, 1.702 * slope


@_self_gated
def silu(x):
    """`x sigmoid(x)`, also called swish (arXiv:1606.08415; arXiv:1710.05941)."""
    return sigmoid_and_slope(x)


@_self_gated
def mish(x):
    """`x tanh(softplus(x))` (Misra 2019, arXiv:1908.08681)."""
    n = jnp.exp(x)
    numerator = n * (n + 2)  # tanh(log(1 + n)) = n (n + 2) / (n (n + 2) + 2)
    r = 1.0 / (numerator + 2)
    return numerator * r, (2 * n * r) * (2 * (n + 1) * r)


@_self_gated
def tanhexp(x):
    """`x tanh(exp(x))` (Liu & Di 2020, arXiv:2003.09855)."""
    n = jnp.exp(x)
    return jnp.tanh(n), 4 * n * sigmoid_and_slope(2 * n)[1]  # 1 - tanh(n)^2 is four times sigmoid's slope at 2n


@_self_gated
def hard_swish(x):
    """`x clip(x + 3, 0, 6) / 6` (Howard et al. 2019, arXiv:1905.02244)."""
    return jnp.clip((x + 3) / 6, 0.0, 1.0), jnp.where(jnp.abs(x) < 3, 1 / 6, 0.0)


@_self_gated
def golu(x):
    """`x exp(-exp(-x))`, gated by the Gumbel distribution (Das et al. 2025, arXiv:2502.03654)."""
    decay = jnp.exp(-jnp.maximum(x, -10.0))  # the gate is 0 there, also in float64, and exp(-x) overflows further on
    gate = jnp.exp(-decay)
    return gate, gate * decay


_LOWEST = -0.7517915246936  # where GELU is smallest


def gelu_monotone(x: Values) -> Values:
    """GELU above its minimum at -0.7518, and constant, -0.16997, below it."""
    return gelu(jnp.where(x <= _LOWEST, _LOWEST, x))


def soi(key: jax.Array, x: Values) -> Values:
    """`x` with probability `Phi(x)`, else 0: the stochastic 0-I map, whose mean is GELU (Hendrycks & Gimpel 2016, first
    version of arXiv:1606.08415, section 4). Its slope is 1 where it keeps x, as that of dropout."""
    dropped = jax.random.uniform(key, x.shape, x.dtype) >= 0.5 * lax.erfc(-math.sqrt(0.5) * x)
    return jnp.where(dropped, 0.0, x)  # nan is not dropped
