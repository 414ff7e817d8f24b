"""Normalization of a vector of features: LayerNorm, RMSNorm, a pointwise function in their place, or none."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from models.activations.formulas.exponential import sigmoid_and_slope
from models.activations.formulas.slopes import with_slope

NormKind = Literal["layernorm", "rmsnorm", "dyt", "derf", "none"]
WITH_BIAS = ("layernorm", "dyt", "derf")
"""Kinds that have a bias unless it is switched off."""


class Norm(nn.Module):
    """Normalizes the last axis in float32 and returns the dtype of the input.

    "layernorm" (Ba et al. 2016) subtracts the mean and divides by the standard deviation, "rmsnorm" (Zhang and Sennrich
    2019) divides by the root mean square. Two pointwise functions stand in for a norm: "dyt" is `tanh(alpha x)` (Zhu et
    al. 2025, arXiv:2503.10622), "derf" is `erf(alpha x + shift)` (Chen et al. 2025, arXiv:2512.10938), with learned
    scalars `alpha`, 0.5 at first, and `shift`, 0 at first. All have a `scale` and, with `use_bias`, a `bias` (None: all
    but RMSNorm); without `use_scale` neither. "none" is the identity. `epsilon` is added to the variance or mean
    square.
    """

    kind: NormKind = "layernorm"
    epsilon: float = 1e-5
    use_bias: bool | None = None
    use_scale: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*rows features"]) -> Float[Array, "*rows features"]:
        """x, normalized."""
        if self.kind == "none":
            return x
        y = self.squashed(x) if self.kind in ("dyt", "derf") else self.normalized(x)
        if not self.use_scale:
            return y.astype(x.dtype)
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        y = y * jnp.broadcast_to(scale, y.shape)
        if self.kind in WITH_BIAS if self.use_bias is None else self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
            y = y + jnp.broadcast_to(bias, y.shape)
        return y.astype(x.dtype)

    @nn.nowrap
    def normalized(self, x: Float[Array, "*rows features"]) -> Float[Array, "*rows features"]:
        """x with mean square 1, in float32."""
        y = x.astype(jnp.float32)
        if self.kind == "layernorm":
            y = y - y.mean(axis=-1, keepdims=True)
        return y * lax.rsqrt(jnp.square(y).mean(axis=-1, keepdims=True) + self.epsilon)

    @nn.nowrap
    def squashed(self, x: Float[Array, "*rows features"]) -> Float[Array, "*rows features"]:
        """x within -1 and 1, in float32."""
        y = self.param("alpha", nn.initializers.constant(0.5), ()) * x.astype(jnp.float32)
        if self.kind == "dyt":
            return _tanh(y)
        return lax.erf(y + self.param("shift", nn.initializers.zeros, ()))


@with_slope
def _tanh(x):
    """tanh, with a slope that does not cancel in the tails: `1 - tanh(x)^2` is off by 6e-8, which x multiplies."""
    return jnp.tanh(x), 4 * sigmoid_and_slope(2 * x)[1]
