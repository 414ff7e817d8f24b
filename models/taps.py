"""Taps: places in a network's forward pass where values are looked at and added to, so that gradients in them exist.

At the inputs of layers, also inside a loop over layers, and before and after the activations of feed-forward layers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array

from models.layers.block import Block
from models.layers.feedforward import FeedForward
from models.layers.hidden import Hidden
from models.layers.scanned import stacked, unstacked
from models.layers.stack import Stack
from models.wide_resnet import Block as ConvolutionBlock

LAYERS = (Block, ConvolutionBlock, Hidden)
"""What counts as a layer, if it is not inside another one."""
Taps = dict[str, Array]


def unrolled(model: Any, variables: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The network with its layers one by one: values inside a scan or a rematerialized block cannot be taken out."""
    if not isinstance(model, Stack):
        return model, dict(variables)
    params = unstacked(variables["params"]) if model.scan else variables["params"]
    return model.clone(scan=False, remat=False), {**variables, "params": params}


def scanned(model: Any, variables: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The network with the layers of a Transformer as a loop, which compiles in a time that does not grow with them."""
    if not isinstance(model, Stack):
        return model, dict(variables)
    params = variables["params"] if model.scan else stacked(variables["params"])
    return model.clone(scan=True, remat=False), {**variables, "params": params}


def layer_inputs(model: Any, variables: Any, inputs: Any) -> Taps:
    """Zeros like the inputs of all layers, in the order of the forward pass."""
    order: list[str] = []  # of which JAX keeps none in a dict

    def values(variables: Any, inputs: Any) -> list[Array]:
        found = layers(model, variables, inputs)
        order.extend(found)
        return [value for value, _ in found.values()]

    shapes = jax.eval_shape(values, variables, inputs)
    if not shapes:
        raise ValueError(
            f"gradients cannot be followed through {type(model).__name__}, in which no layers are found: it must be "
            f"made of {', '.join(f'{kind.__module__}.{kind.__qualname__}' for kind in LAYERS)}"
        )
    return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in zip(order, shapes, strict=True)}


def layers(
    model: Any, variables: Any, inputs: Any, taps: Taps | None = None, severed: bool = False
) -> dict[str, tuple[Array, Array]]:
    """Inputs and outputs of all layers, [layers, ...] of each loop or single layer, by its path.

    `taps` are added to the inputs. Severed, no gradient passes from one layer to another. Values inside a loop can be
    reached only through Flax's collections.
    """
    shapes: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}
    inside: list[nn.Module] = []

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if context.method_name != "__call__" or not isinstance(module, LAYERS) or inside:
            return call(*args, **kwargs)
        x, *others = args
        module.sow("intermediates", "layer_input", x)
        if module.has_variable("taps", "input"):
            x = (lax.stop_gradient(x) if severed else x) + module.get_variable("taps", "input").reshape(x.shape)
        inside.append(module)
        y = call(x, *others, **kwargs)
        inside.pop()
        module.sow("intermediates", "layer_output", y)
        shapes[module.path] = x.shape, y.shape  # in a loop those of one layer
        return y

    added = {(*name.split("/"), "input"): tap for name, tap in (taps or {}).items()}
    given = {**variables, "taps": unflatten_dict(added)}
    with nn.intercept_methods(intercept):
        _, found = model.apply(given, *inputs, mutable=["intermediates"])
    sown = flatten_dict(found.get("intermediates", {}))
    return {
        "/".join(path): (
            sown[*path, "layer_input"][0].reshape(-1, *before),
            sown[*path, "layer_output"][0].reshape(-1, *after),
        )
        for path, (before, after) in shapes.items()
    }


def _sites(module: nn.Module) -> tuple[str | None, str | None]:
    """Names of what is tapped of a module: its input, its output. They are the values before and after activations."""
    path = "/".join(module.path)
    inner = isinstance(module.parent, FeedForward | Hidden)
    if inner and module.name in ("gate", "up"):
        return None, path
    if inner and module.name == "down":
        return f"{path.rpartition('/')[0]}/hidden", None
    return None, f"{path}/hidden" if isinstance(module, Hidden) else None


def around_activations(model: Any, variables: Any, inputs: Any, taps: Taps | None = None) -> tuple[Any, Taps, Taps]:
    """The model's outputs; the values before and after the activations, to which those of `taps` are added; and by the
    path of a feed-forward layer what is nonzero where its positions are not padding, if it is given that."""
    seen: Taps = {}
    real: Taps = {}

    def tapped(name: str | None, value: Array) -> Array:
        if name is None:
            return value
        seen[name] = value if taps is None else value + taps[name]
        return seen[name]

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if kwargs.get("real") is not None and isinstance(context.module, FeedForward):
            real["/".join(context.module.path)] = kwargs["real"]
        before, after = _sites(context.module)
        if before is not None:
            args = (tapped(before, args[0]), *args[1:])
        return tapped(after, call(*args, **kwargs))

    with nn.intercept_methods(intercept):
        outputs = model.apply(variables, *inputs)
    return outputs, seen, real


def activation_taps(model: Any, variables: Any, inputs: Any) -> Taps:
    """Zeros like all values before and after activations."""
    shapes = jax.eval_shape(lambda *given: around_activations(model, *given)[1], variables, inputs)
    if not shapes:
        raise ValueError(
            f"{type(model).__name__} has no feed-forward layers whose inputs could be looked at: they must be made of "
            f"models.layers.feedforward.FeedForward or models.layers.hidden.Hidden"
        )
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
