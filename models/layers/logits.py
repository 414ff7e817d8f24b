"""Logits computed in chunks, for when all of them do not fit in memory."""

import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from models.layers.dense import project

Values = TypeVar("Values")


@struct.dataclass
class Logits:
    """Lazy logits [*tokens, vocab] of hidden states [*tokens, width], in float32.

    With a large vocabulary, logits are by far the largest array of a network: 64 sequences of 1024 tokens take 13 GB
    with GPT-2's 50,257. `map_tokens` computes them for `chunk` tokens at a time; `jnp.asarray` returns them all.
    """

    hidden: Float[Array, "*tokens width"]
    kernel: Float[Array, "width vocab"]
    bias: Float[Array, " vocab"] | None
    cap: float | None = struct.field(pytree_node=False)
    """Soft cap by tanh; None: none."""
    chunk: int = struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the full array."""
        return (*self.hidden.shape[:-1], self.kernel.shape[-1])

    def __jax_array__(self) -> Float[Array, "*tokens vocab"]:
        return self.of(self.hidden)

    def of(self, hidden: Float[Array, "*rows width"]) -> Float[Array, "*rows vocab"]:
        """The logits of these hidden states."""
        y = project(hidden, self.kernel, "float32")
        if self.bias is not None:
            y = y + jnp.broadcast_to(self.bias, y.shape)
        return y if self.cap is None else self.cap * jnp.tanh(y / self.cap)

    def map_tokens(self, function: Callable[..., Values], *fields: Array) -> Values:
        """Apply `function(logits [chunk, vocab], *fields [chunk]) -> [chunk]` to all tokens; fields are [*tokens].

        The function may return a tree of such arrays; the logits are then computed only once. The backward pass
        recomputes them.
        """
        tokens = self.hidden.shape[:-1]
        count, rows = math.prod(tokens), self.hidden.reshape(-1, self.hidden.shape[-1])

        def portions(array: Array) -> Array:
            padded = jnp.pad(array, ((0, -count % self.chunk), *[(0, 0)] * (array.ndim - 1)))
            return padded.reshape(-1, self.chunk, *array.shape[1:])

        parts = (portions(rows), *(portions(field.reshape(-1)) for field in fields))
        values = lax.map(jax.checkpoint(lambda part: function(self.of(part[0]), *part[1:])), parts)
        return jax.tree.map(lambda array: array.reshape(-1)[:count].reshape(tokens), values)
