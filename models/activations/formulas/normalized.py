"""Activations along the last axis, the hidden units of a position: each output depends on all units."""

import jax
import jax.numpy as jnp
from jax import lax

from models.activations.formulas import Scalar, Scalars, Values


def polynorm(x: Values, weight: Scalars, bias: Scalar) -> Values:
    """`w0 N(x^3) + w1 N(x^2) + w2 N(x) + bias`, where N is RMS normalization of the last axis (arXiv:2411.03884)."""
    # Scaling x and eps together does not change N; without scaling, x^6 overflows above 2.6e6.
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    shrink = lax.rsqrt(jnp.maximum(largest, 1.0))  # rsqrt, as 1 / largest is flushed to 0 above 8.5e37

    def normalized_power(k: int):
        power = (x * shrink * shrink) ** k
        return power * lax.rsqrt(jnp.mean(jnp.square(power), axis=-1, keepdims=True) + 1e-6 * shrink ** (4 * k))

    return weight[0] * normalized_power(3) + weight[1] * normalized_power(2) + weight[2] * normalized_power(1) + bias


def softmax(x: Values) -> Values:
    """`exp(x) / sum(exp(x))` along the last axis."""
    return jax.nn.softmax(x)


def log_softmax(x: Values) -> Values:
    """`x - log(sum(exp(x)))` along the last axis."""
    return jax.nn.log_softmax(x)
