"""A block of a stack: attention and feed-forward with their norms and residual connections."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from models.layers import telemetry
from models.layers.attention import Attention, AttentionContext
from models.layers.feedforward import FeedForward
from models.layers.normalization import Norm

NormPlacement = Literal["pre", "post", "sandwich", "input", "output"]
Residual = Literal["sequential", "parallel", "parallel_shared", "none"]


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input; `norm` creates the norms, placed by `placement`.

    "pre" normalizes a layer's input (Xiong et al. 2020), "post" the sum (Vaswani et al. 2017), "output" the layer's
    output (Liu et al. 2022), "sandwich" its input and output (Ding et al. 2021), "input" the input of both layer and
    sum. With a "parallel" residual all layers read the block's input (Wang and Komatsuzaki 2021), with
    "parallel_shared" through one norm. With the residual "none" nothing is added: a layer's output is the next one's
    input.
    """

    attention: Attention
    feedforward: FeedForward
    norm: partial[Norm]
    placement: NormPlacement
    residual: Residual = "sequential"
    cross_attention: Attention | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length d_model"],
        context: AttentionContext,
        source: Array | None = None,
        source_context: AttentionContext | None = None,
        *,
        scale: Any = None,
        window: Any = None,
        rope_base: Any = None,
        train: bool,
    ) -> Float[Array, "batch length d_model"]:
        """The residual stream after all layers; see `Attention` for the arguments."""
        layers: dict[str, Callable[[Array], Array]] = {
            "attention": lambda y: self.attention(
                y, context, scale=scale, window=window, rope_base=rope_base, train=train
            )
        }
        if (cross := self.cross_attention) is not None:
            seen = source_context or AttentionContext()
            layers["cross_attention"] = lambda y: cross(y, seen, source, crossed=True, scale=scale, train=train)
        layers["feedforward"] = lambda y: self.feedforward(y, train=train, real=context.real)
        parallel = self.residual in ("parallel", "parallel_shared")
        for each in [layers] if parallel else [{name: layer} for name, layer in layers.items()]:
            x = self.add(x, each)
        telemetry.observe(self, "residual", x, telemetry.direction, real=context.real)
        return x

    @nn.nowrap
    def add(self, x: Array, layers: dict[str, Callable[[Array], Array]]) -> Array:
        """x plus the output of every layer, or without a residual the output alone."""
        first = next(iter(layers))
        if self.placement == "input":
            x = self.norm(name=f"{first}_norm")(x)
        inputs = dict.fromkeys(layers, x)
        if self.placement in ("pre", "sandwich"):
            if self.residual == "parallel_shared":
                inputs = dict.fromkeys(layers, self.norm(name=f"{first}_norm")(x))
            else:
                inputs = {name: self.norm(name=f"{name}_norm")(x) for name in layers}
        for name, layer in layers.items():
            y = layer(inputs[name])
            if self.placement in ("sandwich", "output"):
                y = self.norm(name=f"{name}_output_norm")(y)
            x = y if self.residual == "none" else x + y
        return self.norm(name=f"{first}_norm")(x) if self.placement == "post" else x
