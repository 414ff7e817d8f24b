"""Activations with two pieces that meet at 0.

`where(x <= 0, ...)` gives the left derivative at the kink and lets nan through.
"""

import jax
import jax.numpy as jnp
from jax import lax

from models.activations.formulas import Scalar, Scalars, Values


def identity(x: Values) -> Values:
    """`x`."""
    return x


def relu(x: Values) -> Values:
    """`max(x, 0)`."""
    return jnp.where(x <= 0, 0.0, x)


def relu2(x: Values) -> Values:
    """`max(x, 0)^2` (So et al. 2021, arXiv:2109.08668)."""
    return jnp.square(relu(x))


def leaky_relu2(x: Values, constant: Scalar) -> Values:
    """`x^2` above 0, `(constant x)^2` below: a leaky ReLU, squared (KellerJordan/modded-nanogpt, pull request 249).

    The constant is not learned. With 0 it is ReLU^2, with 1 the square.
    """
    return jnp.square(prelu(x, lax.stop_gradient(constant)))


def prelu(x: Values, slope: Scalar) -> Values:
    """`x` above 0, `slope x` below (He et al. 2015, arXiv:1502.01852)."""
    return jnp.where(x <= 0, slope * x, x)


def leaky_relu(x: Values) -> Values:
    """`x` above 0, `0.01 x` below (Maas et al. 2013)."""
    return prelu(x, 0.01)


def elu(x: Values) -> Values:
    """`x` above 0, `exp(x) - 1` below (Clevert et al. 2015, arXiv:1511.07289, alpha = 1)."""
    return relu(x) + jnp.expm1(negative_part(x))


def selu(x: Values) -> Values:
    """ELU scaled to keep mean 0 and variance 1 under N(0, 1) (Klambauer et al. 2017, arXiv:1706.02515, eq. 2)."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * (relu(x) + alpha * jnp.expm1(negative_part(x)))


def xielu(x: Values, alpha_p: Scalar, alpha_n: Scalar) -> Values:
    """`p x^2 + b x` above 0, `n (exp(x) - 1 - x) + b x` below (Huang & Schlag 2024, arXiv:2411.13010).

    `p = softplus(alpha_p)`, `n = b + softplus(alpha_n)`, `b = 0.5`. The authors' kernel also keeps the argument of
    expm1 below -1e-6, which changes values near 0 by less than 1e-6; this is omitted here.
    """
    b, p, excess = 0.5, jax.nn.softplus(alpha_p), jax.nn.softplus(alpha_n)
    above, below = relu(x), negative_part(x)
    # (b - n) x is written as -excess x, so that the limit at -inf is not inf - inf.
    return above * (p * above + b) + (b + excess) * jnp.expm1(below) - excess * below


def polyrelu(x: Values, weight: Scalars, bias: Scalar) -> Values:
    """`w0 r^3 + w1 r^2 + w2 r + bias` with `r = max(x, 0)` (Zhuo et al. 2024, arXiv:2411.03884)."""
    r = relu(x)
    return ((weight[0] * r + weight[1]) * r + weight[2]) * r + bias


def absolute(x: Values) -> Values:
    """`|x|`; its slope at 0 is the left derivative, -1."""
    return relu(x) - negative_part(x)


def negative_part(x: Values) -> Values:
    """`min(x, 0)`, with slope 1 at 0."""
    return jnp.where(x <= 0, x, 0.0)
