"""A Transformer whose dense layers read rounded inputs, and the inputs that these layers read."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from models.layers.dense import Dense
from models.layers.rounding import Format, largest, rounded

LEVELS, LIMIT, DIVISOR = "input_levels", "input_limit", "input_divisor"
READ = "dense_input"


@dataclass(frozen=True)
class Quantized:
    """A model whose dense layers read inputs rounded to a short format; `apply` is as the model's own.

    This is fake quantization: inputs have the values that the format can represent, and products are computed in
    float32. So the loss is that of the quantized network, up to the rounding of sums, while speed and memory are not.

    The parameters are the model's, with those of `lab.surgery.quantization` beside the kernel of each dense layer that
    is quantized: `input_levels` (0: the input stays in float), `input_divisor` [inner], by which the input is divided
    first, and, unless `per_token`, `input_limit`, the largest input that can be represented; per token it is the
    largest of the token's own features.
    """

    model: Any
    form: Format = "integer"
    per_token: bool = True

    def apply(self, variables: Any, *inputs: Any, **options: Any) -> Any:
        """What the model computes from rounded inputs."""

        def intercept(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
            dense = context.module
            if not _reads(context) or not dense.has_variable("params", LEVELS):
                return call(*arguments, **keywords)
            x, *others = arguments
            return call(self.read(x, dense.variables["params"]), *others, **keywords)

        with nn.intercept_methods(intercept):
            return self.model.apply(variables, *inputs, **options)

    def read(self, x: Float[Array, "*rows inner"], params: Any) -> Float[Array, "*rows inner"]:
        """The input of a dense layer with these parameters, as the layer reads it."""
        divided = x.astype(jnp.float32) / jnp.broadcast_to(params[DIVISOR], x.shape)
        limit = largest(divided, -1) if self.per_token else params[LIMIT]
        return rounded(divided, limit, params[LEVELS], self.form).astype(x.dtype)


def dense_inputs(model: Any, variables: Any, *inputs: Any) -> dict[str, Float[Array, "*rows inner"]]:
    """What each dense layer of a model reads, by the layer's path, such as layer_0/attention/query."""

    def intercept(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        if _reads(context):
            context.module.sow("intermediates", READ, arguments[0])
        return call(*arguments, **keywords)

    with nn.intercept_methods(intercept):
        _, sown = model.apply(variables, *inputs, mutable=["intermediates"])
    kept = flatten_dict(sown["intermediates"], sep="/")
    return {path.removesuffix(f"/{READ}"): values[0] for path, values in kept.items() if path.endswith(f"/{READ}")}


def _reads(context: Any) -> bool:
    return isinstance(context.module, Dense) and context.method_name == "__call__"
