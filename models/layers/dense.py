"""Dense layers, and the initialization of their kernels."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

Initialization = Literal["gpt2", "normal", "truncated", "lecun", "xavier"]
Initializer = Callable[..., Any]


def project(x: Float[Array, "*rows inner"], kernel: Float[Array, "inner outer"], dtype: str) -> Float[Array, "..."]:
    """Matrix product of x [*rows, inner] and kernel [inner, outer] -> [*rows, outer] in `dtype`.

    The leading axes are flattened: otherwise the kernel's gradient contracts over two axes, for which XLA on a CPU
    makes a transposed copy that recomputes the elementwise backward pass (1.8 times as long for a step of a small GPT).
    """
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel, preferred_element_type=dtype).reshape(*x.shape[:-1], -1)


def initializer(initialization: Initialization, std: float, scale: float = 1.0) -> Initializer:
    """The initializer of kernels, whose values are multiplied by `scale`.

    "gpt2" and "normal": normal(0, std); "truncated": the same, truncated at 2 std (BERT, ViT); "lecun": truncated
    normal with variance 1/fan_in; "xavier": uniform with variance 2/(fan_in + fan_out) (Glorot and Bengio 2010).
    """
    draw = {
        "gpt2": nn.initializers.normal(std),
        "normal": nn.initializers.normal(std),
        "truncated": nn.initializers.truncated_normal(std),
        "lecun": nn.initializers.lecun_normal(),
        "xavier": nn.initializers.xavier_uniform(),
    }[initialization]
    return lambda key, shape, dtype=jnp.float32: scale * draw(key, shape, dtype)


def deviation(initialization: Initialization, std: float, inner: int, outer: int) -> float:
    """Standard deviation of a kernel [inner, outer] drawn by `initializer`."""
    within_two = 0.87962566  # of a normal distribution truncated at 2 std
    return {
        "gpt2": std,
        "normal": std,
        "truncated": within_two * std,
        "lecun": inner**-0.5,
        "xavier": (2 / (inner + outer)) ** 0.5,
    }[initialization]


class Dense(nn.Module):
    """A dense layer with parameters `kernel` [inner, features] and, with `use_bias`, `bias` [features] in float32.

    Operands have type `dtype`, the output has type `output_dtype` (None: `dtype`).
    """

    features: int
    use_bias: bool = True
    dtype: str = "float32"
    output_dtype: str | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()

    def __call__(self, x: Float[Array, "*rows inner"]) -> Float[Array, "*rows features"]:
        """The product of x with the kernel, plus the bias."""
        kernel, bias = self.weights(x.shape[-1])
        y = project(x.astype(self.dtype), kernel.astype(self.dtype), self.output_dtype or self.dtype)
        return y if bias is None else y + jnp.broadcast_to(bias.astype(y.dtype), y.shape)

    @nn.compact
    def weights(self, inner: int) -> tuple[Float[Array, "inner features"], Float[Array, " features"] | None]:
        """Kernel and bias; the bias is None if there is none."""
        kernel = self.param("kernel", self.kernel_init, (inner, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        return kernel, bias
