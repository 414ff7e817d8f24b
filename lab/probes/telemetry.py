"""What happens inside a network on a batch: what its layers record (`models.layers.telemetry`), and their gradients."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from lab.probes import spectrum
from models.layers.scanned import unstacked
from models.layers.telemetry import COLLECTION

Key = tuple[str, str, str]
"""Layer, site and metric. The layer is the path of the innermost module with a number, "" outside of any, and the site
is what follows it: `layer_0`, `feedforward/hidden`."""
Found = dict[Key, Float[Array, ""]]
PARAMETERS = "parameters"
"""The site of what is known of all parameters of a layer."""


def measure(
    loss: Callable[[Any], Float[Array, ""]],
    update: Callable[[Any], Any],
    model: Any,
    parameters: Any,
    collections: Mapping[str, Any],
    inputs: tuple[Any, ...],
) -> Found:
    """Everything that the model records of `inputs`, and per layer the norms of its parameters, of the gradient of
    `loss(outputs)`, and of the step `update(gradient)`. Dropout is off."""

    def objective(parameters: Any) -> tuple[Any, Any]:
        outputs, sown = model.apply({"params": parameters, **collections}, *inputs, mutable=[COLLECTION])
        return loss(outputs), sown.get(COLLECTION, {})

    gradient, sown = jax.grad(objective, has_aux=True)(parameters)
    trees = {"parameter_norm": parameters, "gradient_norm": gradient, "update_norm": update(gradient)}
    found = recorded(model, sown)
    for metric, tree in trees.items():
        found |= norms(model, tree, metric)
    return found


def record(model: Any, variables: Any, inputs: tuple[Any, ...]) -> Found:
    """Everything that the model records of `inputs`, without gradients."""
    _, sown = model.apply(variables, *inputs, mutable=[COLLECTION])
    return recorded(model, sown.get(COLLECTION, {}))


def recorded(model: Any, sown: Mapping[str, Any]) -> Found:
    """The values of the collection "telemetry", with the quantities of each spectrum, and the `growth` of a residual
    stream: its RMS relative to that of the first layer of its stack."""
    found: Found = {}
    for path, calls in flatten_dict(_by_layer(model, sown)).items():
        for call, values in enumerate(calls):
            layer, site = _place(path)
            again = f"#{call + 1}" if call else ""  # a module that is called several times
            named = spectrum.quantities(**values) if {"before", "after"} == set(values) else values
            for metric, value in named.items():
                for suffix, one in _scanned(value):
                    found[layer + suffix, site + again, metric] = one
    return found | _growth(found)


def norms(model: Any, tree: Any, metric: str) -> Found:
    """The norm of all parameters of every layer, and of every module outside of layers."""
    squares: Found = {}
    for path, leaf in flatten_dict(_by_layer(model, tree)).items():
        layer, _ = _place(path)
        key = (layer, PARAMETERS if layer else path[0], metric)
        squares[key] = squares.get(key, jnp.zeros(())) + jnp.square(leaf.astype(jnp.float32)).sum()
    return {key: jnp.sqrt(value) for key, value in squares.items()}


def in_order(keys: Iterable[Key]) -> list[Key]:
    """Keys with layers in the order of their numbers, outer ones first; sites and metrics by name."""
    return sorted(keys, key=lambda key: (_natural(key[0]), key[1:]))


def _by_layer(model: Any, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with scanned layers of a stack as separate ones."""
    return unstacked(dict(tree)) if getattr(model, "scan", False) else dict(tree)


def _place(path: tuple[str, ...]) -> tuple[str, str]:
    """Layer and site of a path; names of sites may contain slashes."""
    parts = "/".join(path).split("/")
    numbered = [index for index, part in enumerate(parts[:-1]) if re.search(r"\d$", part)]
    end = numbered[-1] + 1 if numbered else 0
    return "/".join(parts[:end]), "/".join(parts[end:])


def _scanned(value: Array) -> Iterator[tuple[str, Array]]:
    """A value, or those of every layer of a user's own loop over layers (`flax.linen.scan`), with their number."""
    if value.ndim == 0:
        yield "", value
    for index, one in enumerate(value if value.ndim else ()):
        for suffix, inner in _scanned(one):
            yield f"_{index}{suffix}", inner


def _growth(found: Found) -> Found:
    sizes = {key: found[key] for key in in_order(found) if key[1:] == ("residual", "rms")}
    first: dict[str, Array] = {}
    for (layer, *_), size in sizes.items():
        first.setdefault(re.sub(r"\d+", "", layer), size)
    return {
        (layer, "residual", "growth"): size / first[re.sub(r"\d+", "", layer)] for (layer, *_), size in sizes.items()
    }


def _natural(layer: str) -> list[tuple[str, int]]:
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D+)(\d*)", layer)]
