"""The multilayer perceptron: a classifier, autoencoder or tagger, depending on its widths and input."""

import dataclasses
import math
from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from models import activations
from models.layers.dense import Dense
from models.layers.feedforward import Match
from models.layers.hidden import Hidden, kernel_initializer, matched_widths
from models.layers.normalization import NormKind
from models.layers.stack import NEWER, check_choices, check_positive

Initialization = Literal["unit_norm", "lecun", "xavier", "kaiming"]


class MLP(nn.Module):
    """Dense layers, each followed by an activation except the last, which is linear (Rumelhart et al. 1986).

    The defaults are the MNIST classifier of Hendrycks and Gimpel (2016, section 3.1). An autoencoder has a bottleneck
    and equal numbers of inputs and outputs. Raises ValueError as `check` does.
    """

    input_shape: tuple[int, ...] = (28, 28, 1)
    """Shape of one example; leading axes are batch axes."""
    widths: tuple[int, ...] = (128,) * 8
    """Width of each hidden layer with a plain activation; those with a gated one are derived from it. None: a linear
    model."""
    outputs: int = 10
    """Number of outputs: classes, or values to be reconstructed."""
    activation: str | activations.Activation = "gelu"
    """Activation of the hidden layers, a name or an Activation; a gated one makes them gated."""
    match: Match = "parameters"
    """Quantity that gated layers share with plain ones."""
    dropout: float = 0.0
    """Dropout rate after each activation, in training only."""
    initialization: Initialization = "unit_norm"
    """Initialization of kernels: see `models.layers.hidden.kernel_initializer`."""
    vocab_size: int = 0
    """Vocabulary size if the input is tokens; 0: it is numbers."""
    embedding_dim: int = 50
    """Width of the token embedding."""
    norm: NormKind = dataclasses.field(default="none", metadata=NEWER)
    """Kind of normalization of each hidden layer's input."""

    def __post_init__(self) -> None:
        self.activation = activations.activation(self.activation)
        super().__post_init__()

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """Widths of the hidden layers: `widths`, or the matched widths of gated layers."""
        activation = activations.activation(self.activation)
        return matched_widths(self.inputs, self.widths, self.outputs, activation, self.match)

    @property
    def inputs(self) -> int:
        """Number of inputs of the first layer."""
        return math.prod(self.input_shape) * (self.embedding_dim if self.vocab_size else 1)

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields or an input length that does not fit."""
        check_choices(self, {"match": Match, "initialization": Initialization, "norm": NormKind})
        check_positive(self, ("outputs", "embedding_dim"))
        if not self.input_shape or min(self.input_shape) < 1:
            raise ValueError(f"input_shape is {self.input_shape}: it must be one or more positive numbers")
        if min(self.widths, default=1) < 1:
            raise ValueError(f"widths is {self.widths}: it must be positive numbers")
        if self.vocab_size < 0:
            raise ValueError(f"vocab_size is {self.vocab_size}: it must be positive, or 0 for numbers")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be at least 0 and less than 1")
        if length is not None and length != self.input_shape[0]:
            raise ValueError(f"the input is {length} long, but input_shape is {self.input_shape}")

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Float[Array, "*examples outputs"]:
        """Outputs for inputs [*examples, *input_shape], which are integers if there is a vocabulary."""
        self.check()
        examples = x.shape[: x.ndim - len(self.input_shape)]
        if x.shape[len(examples) :] != self.input_shape:
            raise ValueError(f"the input is {x.shape}: the model takes (..., {', '.join(map(str, self.input_shape))})")
        if self.vocab_size:
            draw = nn.initializers.normal(self.embedding_dim**-0.5)
            x = nn.Embed(self.vocab_size, self.embedding_dim, embedding_init=draw, name="token_embedding")(x)
        x = x.reshape(*examples, self.inputs)
        arm = activations.activation(self.activation)
        dense = partial(Dense, kernel_init=kernel_initializer(self.initialization, arm.name))
        for i, width in enumerate(self.hidden_widths):
            x = Hidden(arm, dense, width, self.dropout, self.norm, name=f"layer_{i}")(x, train=train)
        return Dense(self.outputs, kernel_init=kernel_initializer(self.initialization), name="head")(x)
