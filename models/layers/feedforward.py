"""The feed-forward layer, plain or gated, and the widths at which the two cost the same."""

import functools
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from models.activations import Activation
from models.layers import telemetry
from models.layers.dense import Dense, Initializer

Match = Literal["parameters", "flops", "width"]


def matched_width(d_ff: int, activation: Activation, match: Match, multiple: int, d_model: int, bias: bool) -> int:
    """Hidden width at which a layer with this activation costs the same as a plain layer of width `d_ff`.

    A gated layer has three matrices where a plain one has two, so equal parameters or FLOPs allow about two thirds of
    the width (Shazeer 2020, section 2). "parameters" includes biases; "flops" counts the matrix products; "width"
    keeps `d_ff`. The derived width is rounded to the nearest multiple of `multiple`, at least one; learned activation
    parameters are not counted. A plain layer keeps `d_ff` unchanged.
    """
    if not activation.gated or match == "width":
        return d_ff
    biases = 1 if bias and match == "parameters" else 0
    width = d_ff * (2 * d_model + biases) / (3 * d_model + 2 * biases)
    return multiple * max(1, round(width / multiple))


@functools.lru_cache
def second_moment(activation: Activation, std: float) -> float:
    """E f(z)^2 of an activation for z ~ normal(0, std); for a gated one, of independent gate and value.

    Averaged over 2^17 quantiles in a fixed random order, in rows of 512 for activations that act along an axis, with
    learned parameters at their initial values. Within 1e-3 of the integral for pointwise activations. Of a stochastic
    activation it is that of its mean, which is smaller than that of its draws.
    """
    with jax.ensure_compile_time_eval():
        quantiles = std * ndtri((np.arange(2**17) + 0.5) / 2**17).astype(np.float32)
        rng = np.random.default_rng(0)
        inputs = [jnp.asarray(rng.permutation(quantiles).reshape(-1, 512)) for _ in range(2 if activation.gated else 1)]
        learned = {name: jnp.asarray(initial, jnp.float32) for name, initial in activation.parameters}
        return float(jnp.mean(jnp.square(activation(*inputs, **learned))))


def function_and_parameters(
    activation: Activation, layer: nn.Module, train: bool
) -> tuple[Callable[..., Array], dict[str, Array]]:
    """What a layer calls, the activation or, in training, a draw of a stochastic one; and the learned parameters, which
    are the layer's."""
    learned = {
        name: layer.param(f"activation_{name}", lambda key, value=initial: jnp.asarray(value, jnp.float32))
        for name, initial in activation.parameters
    }
    if train and activation.sampled is not None:
        return functools.partial(activation.sample, layer.make_rng("dropout")), learned
    return activation, learned


class FeedForward(nn.Module):
    """Two dense layers with an activation between them, or three if the activation is gated (Shazeer 2020).

    `d_ff` is the actual hidden width; see `matched_width`. The activation's learned parameters are parameters of this
    layer, `activation_<parameter>` in float32. A stochastic activation draws in training, from the key "dropout". The
    hidden values are sown as `hidden` in "intermediates".
    """

    activation: Activation
    d_ff: int
    bias: bool = True
    dropout: float = 0.0
    dtype: str = "float32"
    kernel_init: Initializer = nn.initializers.lecun_normal()
    output_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*rows d_model"], *, train: bool = False, real: telemetry.Real = None
    ) -> Float[Array, "*rows d_model"]:
        """Plain: `down(activation(up(x)))`; gated: `down(activation(gate(x), up(x)))`; then dropout on the output.

        `real` is nonzero at the rows that count for telemetry, which leaves padding out; it has no other effect.
        """
        telemetry.observe(self, "input", x, telemetry.direction, real=real)
        names = ("gate", "up") if self.activation.gated else ("up",)
        inputs = [Dense(self.d_ff, self.bias, self.dtype, kernel_init=self.kernel_init, name=name)(x) for name in names]
        function, learned = function_and_parameters(self.activation, self, train)
        # Recomputed in the backward pass, so that of the hidden width only the activation's inputs are saved.
        hidden = jax.checkpoint(function)(*inputs, **learned)
        self.sow("intermediates", "hidden", hidden)
        down = Dense(x.shape[-1], self.bias, self.dtype, kernel_init=self.output_init, name="down")
        y = down(hidden)
        if telemetry.observing(self):
            telemetry.observe_hidden(self, inputs, hidden, real, down.variables["params"]["kernel"])
        telemetry.observe(self, "output", y, telemetry.distribution, real=real)
        return nn.Dropout(self.dropout, deterministic=not train, name="dropout")(y)
