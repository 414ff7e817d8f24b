"""Activations with exponentials, logarithms and fractions; smooth, except for the kink of maxsig."""

import jax
import jax.numpy as jnp

from models.activations.formulas import Scalar, Values
from models.activations.formulas.exponential import exp, minus_magnitude, sigmoid_and_slope
from models.activations.formulas.piecewise import negative_part, relu
from models.activations.formulas.self_gated import silu
from models.activations.formulas.slopes import with_slope


def sigmoid(x: Values) -> Values:
    """`1 / (1 + exp(-x))`."""
    return jax.nn.sigmoid(x)


def tanh(x: Values) -> Values:
    """Hyperbolic tangent."""
    return jnp.tanh(x)


def softplus(x: Values) -> Values:
    """`log(1 + exp(x))`."""
    return relu(x) + jnp.log1p(jnp.exp(minus_magnitude(x)))


def swish_beta(x: Values, beta: Scalar) -> Values:
    """`x sigmoid(beta x)` (Ramachandran et al. 2017, arXiv:1710.05941)."""
    bounded = jnp.where(x == -jnp.inf, jnp.finfo(x.dtype).min, x)  # -inf * 0 is nan
    return bounded * sigmoid_and_slope(beta * bounded)[0]


def bipolar_sigmoid(x: Values) -> Values:
    """`2 sigmoid(x) - 1`, which is `tanh(x / 2)`."""
    return jnp.tanh(0.5 * x)


def softplusmone(x: Values) -> Values:
    """`softplus(x) - 1` (EleutherAI/gpt-neo, models/activations.py)."""
    return softplus(x) - 1


@with_slope
def softsign(x):
    """`x / (1 + |x|)` (Turian et al. 2009)."""
    bounded = jnp.clip(x, -1e30, 1e30)  # inf / inf is nan
    whole = 1 + jnp.abs(bounded)
    return bounded / whole, 1 / whole / whole


@with_slope
def tanhshrink(x):
    """`x - tanh(x)`."""
    t = jnp.tanh(x)
    # Near 0 the difference is all rounding error. Lambert's continued fraction tanh(x) = x / (1 + s / (3 + s / (5 +
    # ...))), s = x^2, avoids the difference and is accurate to 1e-8 up to 1.
    near = jnp.where(jnp.abs(x) < 1, x, 0.0)
    s = near * near
    shrunk = near * s / (s + 3 + s / (5 + s / (7 + s / (9 + s / 11))))
    return jnp.where(jnp.abs(x) < 1, shrunk, x - t), t * t


@with_slope
def lisht(x):
    """`x tanh(x)` (Roy et al. 2019, arXiv:1901.05894)."""
    t = jnp.tanh(x)
    return x * t, t + x * (4 * sigmoid_and_slope(2 * x)[1])  # 4 x overflows


@with_slope
def roottanh(x):
    """`(x^2 + 1)^(1/3) tanh(x)` (EleutherAI/gpt-neo, models/activations.py)."""
    length = jnp.hypot(x, 1.0)  # x^2 overflows above 1.8e19
    root, t = jnp.cbrt(length), jnp.tanh(x)
    return root * root * t, 2 / 3 * (x / length) * (t / root) + 4 * root * root * sigmoid_and_slope(2 * x)[1]


def maxtanh(x: Values) -> Values:
    """`max(x, tanh(x))`: `x` above 0, `tanh(x)` below (Ramachandran et al. 2017, arXiv:1710.05941)."""
    return jnp.where(x <= 0, jnp.tanh(x), x)


def maxsig(x: Values) -> Values:
    """`max(x, sigmoid(x))`, with a kink at 0.659 (arXiv:1710.05941)."""
    least = sigmoid(x)
    return jnp.where(x <= least, least, x)


def elish(x: Values) -> Values:
    """`x sigmoid(x)` above 0, `(exp(x) - 1) sigmoid(x)` below (Basirat & Roth 2018, arXiv:1808.00783)."""
    return silu(relu(x)) + _elish_below(x)


def elish_gpt_neo(x: Values) -> Values:
    """ELiSH as implemented in EleutherAI/gpt-neo: above 0 it is `x sigmoid(-x)`, a bump that falls back to 0."""
    return -silu(-relu(x)) + _elish_below(x)


def spike(x: Values) -> Values:
    """`1 / (1 + x^2)` (EleutherAI/gpt-neo, models/activations.py)."""
    return 1 / (1 + x * x)


def spike2(x: Values) -> Values:
    """`exp(-x^2)` (EleutherAI/gpt-neo, models/activations.py)."""
    return exp(-x * x)


def seagull(x: Values) -> Values:
    """`log(1 + x^2)` (EleutherAI/gpt-neo, models/activations.py)."""
    far = 1e9  # above this the result equals log(x^2), and x^2 may overflow
    near = jnp.clip(x, -far, far)
    return jnp.log1p(near * near) + 2 * jnp.log(jnp.maximum(jnp.abs(x) / far, 1.0))


@with_slope
def smooth_relu2(x, constant):
    """`x (x + sqrt(x^2 + constant^2)) / 2`, ReLU^2 with a smooth bend of that width (karpathy/nanochat, pull request
    828: 0.2). The constant is not learned. It is -constant^2 / 4 far below 0, and ReLU^2 with 0."""
    limits = jnp.finfo(x.dtype)
    bounded = jnp.clip(x, limits.min, limits.max)  # inf / inf is nan
    root = jnp.maximum(jnp.hypot(bounded, constant), 4 * limits.tiny)
    # x + root cancels below 0, where it is constant^2 / (root - x); of that the half does not overflow.
    half, square = 0.5 * root - 0.5 * minus_magnitude(bounded), constant * constant
    below = 0.25 * square * (bounded / half), 0.125 * square * (square / root) / half / half
    above = x * (0.5 * x + 0.5 * root), (0.5 * x + 0.5 * root) * (1 + bounded / root)
    return tuple(jnp.where(x <= 0, low, high) for low, high in zip(below, above, strict=True))


def _elish_below(x):
    below = negative_part(x)
    return jnp.expm1(below) * sigmoid(below)
