"""Normalization of a vector of features: LayerNorm, RMSNorm, RMSNorm with a centred output, or none."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

NormKind = Literal["layernorm", "rmsnorm", "centred_rmsnorm", "none"]


class Norm(nn.Module):
    """Normalizes the last axis in float32 and returns the dtype of the input.

    "layernorm" (Ba et al. 2016) subtracts the mean and divides by the standard deviation, "rmsnorm" (Zhang and Sennrich
    2019) divides by the root mean square; both have a `scale` and, with `use_bias`, a `bias` (None: LayerNorm only).
    "centred_rmsnorm" is an RMSNorm that subtracts the mean of what it has divided: it differs from LayerNorm by the
    factor std / RMS of its input, and from RMSNorm by the mean that the following layer reads.
    "none" is the identity. Without `use_scale` there are no parameters. `epsilon` is added to the variance or mean
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
        y = x.astype(jnp.float32)
        if self.kind == "layernorm":
            y = y - y.mean(axis=-1, keepdims=True)
        y = y * lax.rsqrt(jnp.square(y).mean(axis=-1, keepdims=True) + self.epsilon)
        if self.kind == "centred_rmsnorm":
            y = y - y.mean(axis=-1, keepdims=True)
        if not self.use_scale:
            return y.astype(x.dtype)
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        y = y * jnp.broadcast_to(scale, y.shape)
        if self.kind == "layernorm" if self.use_bias is None else self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
            y = y + jnp.broadcast_to(bias, y.shape)
        return y.astype(x.dtype)
