"""A hidden layer, plain or gated, and the widths at which two chains of such layers cost the same."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.activations import Activation
from models.layers import telemetry
from models.layers.dense import Initializer, initializer
from models.layers.feedforward import Match, function_and_parameters
from models.layers.normalization import Norm, NormKind

RELU_GAIN = math.sqrt(2)
GAINS = {"identity": 1.0, "sigmoid": 1.0, "tanh": 5 / 3}
"""Of kaiming initialization, as in `torch.nn.init.calculate_gain`; that of all other functions is ReLU's."""


class Hidden(nn.Module):
    """A linear map and its activation, or two maps if the activation is gated (Dauphin et al. 2017); then dropout.

    `linear` creates a map, given its name and `features`; `norm` is that of the layer's input. The activation's learned
    parameters are parameters of this layer, `activation_<parameter>` in float32. A stochastic activation draws in
    training, from the key "dropout". The hidden values are sown as `hidden` in "intermediates".
    """

    activation: Activation
    linear: Callable[..., nn.Module]
    features: int
    dropout: float = 0.0
    norm: NormKind = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "*rows inputs"], *, train: bool) -> Float[Array, "*positions features"]:
        """Plain: `activation(up(x))`; gated: `activation(gate(x), up(x))`."""
        x = Norm(self.norm, name="norm")(x)
        names = ("gate", "up") if self.activation.gated else ("up",)
        telemetry.observe(self, "input", x, telemetry.direction)
        inputs = [self.linear(self.features, name=name)(x) for name in names]
        function, learned = function_and_parameters(self.activation, self, train)
        hidden = function(*inputs, **learned)
        self.sow("intermediates", "hidden", hidden)
        telemetry.observe_hidden(self, inputs, hidden)
        return nn.Dropout(self.dropout, deterministic=not train, name="dropout")(hidden)


def matched_widths(
    inputs: int,
    widths: Sequence[int],
    outputs: int,
    activation: Activation,
    match: Match,
    areas: Sequence[int] = (),
) -> tuple[int, ...]:
    """Hidden widths at which a chain of layers with this activation costs the same as one with a plain activation.

    A gated layer has two kernels where a plain one has one, so all hidden widths shrink by a common factor r. With P
    parameters between hidden layers, F before the first and L after the last, r solves 2 P r^2 + (2 F + L) r =
    P + F + L: two thirds for one hidden layer between equal widths (Shazeer 2020, section 2), about 1/sqrt(2) for many.
    "parameters" includes biases, "flops" counts the products only; "width" keeps the widths. `areas` are the numbers of
    positions of each hidden layer's kernel, 1 by default. Derived widths are rounded, at least 1; a plain chain keeps
    its widths.
    """
    if not widths or not activation.gated or match == "width":
        return tuple(widths)
    sizes = [area * width for area, width in zip(areas or [1] * len(widths), widths, strict=True)]
    first, last = inputs * sizes[0], widths[-1] * outputs
    between = sum(width * size for width, size in zip(widths, sizes[1:], strict=False))
    biases = sum(widths) if match == "parameters" else 0
    linear = 2 * first + last + 2 * biases
    equal = between + first + last + biases
    # The positive root of 2 between r^2 + linear r - equal, in the form that also holds for between = 0.
    factor = 2 * equal / (linear + math.sqrt(linear**2 + 8 * between * equal))
    return tuple(max(1, round(factor * width)) for width in widths)


def kernel_initializer(initialization: str, function: str = "identity") -> Initializer:
    """Initializer of kernels [..., inputs, features]: "unit_norm", "kaiming", or one of
    `models.layers.dense.initializer`.

    "unit_norm" is normal, scaled so that the incoming weights of each unit have norm 1 (Hendrycks and Gimpel 2016,
    section 3.1). "kaiming" is uniform with variance gain^2 / inputs (He et al. 2015), with the gain of the `function`
    that reads the output: see `GAINS`.
    """
    if initialization == "kaiming":
        return nn.initializers.variance_scaling(GAINS.get(function, RELU_GAIN) ** 2, "fan_in", "uniform")
    return unit_norm if initialization == "unit_norm" else initializer(initialization, std=0.0)  # type: ignore[arg-type]


def unit_norm(key: Array, shape: tuple[int, ...], dtype: type = jnp.float32) -> Float[Array, "..."]:
    """Normal numbers divided by their norm over all axes but the last."""
    drawn = nn.initializers.normal(1.0)(key, shape, dtype)
    return drawn / jnp.linalg.norm(drawn.reshape(-1, shape[-1]), axis=0).reshape(*(1,) * (len(shape) - 1), -1)
