"""Activations along the last axis, the hidden units of one position: each unit's output depends on all of them."""

import jax
import jax.numpy as jnp
from jax import lax

from models.activations.formulas import Scalar, Scalars, Values


def polynorm(x: Values, weight: Scalars, bias: Scalar) -> Values:
    """`w0 N(x^3) + w1 N(x^2) + w2 N(x) + bias`, N being RMS normalisation of the last axis (arXiv:2411.03884)."""
    # Scaling x, and eps with it, does not change N; unscaled, x^6 overflows from 2.6e6 on.
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    shrink = lax.rsqrt(jnp.maximum(largest, 1.0))  # the square root: 1 / largest would be flushed to 0 from 8.5e37 on

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
