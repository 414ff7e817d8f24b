"""Units that say nothing: born dead at initialization, and dead or dormant in a network on a batch."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from models.activations import Activation, activation
from models.layers.telemetry import units
from models.taps import around_activations, unrolled


def born_dead(
    function: str | Activation, width: int, layers: int, draws: int, seed: int = 0
) -> Bool[np.ndarray, "draws 2"]:
    """Whether the last of `layers` hidden layers without biases is 0, at the input 1 and at the input -1.

    The input is a scalar and weights are normal with mean 0. Where every layer is positively homogeneous, as with ReLU,
    that decides for all positive and all negative inputs, and where both are 0 the network is born dead: a constant,
    without a gradient (Lu et al. 2019, "Dying ReLU and initialization", arXiv:1903.06733). The output of each layer is
    scaled to norm 1, so that what is small is not taken for 0. Gated activations have two maps.
    """
    keys = jax.random.split(jax.random.key(seed), draws)
    return np.asarray(jax.jit(jax.vmap(partial(_silent, activation(function), width, layers)))(keys))


def _silent(f: Activation, width: int, layers: int, key: Array) -> Bool[Array, " 2"]:
    def layer(x: Array, key: Array) -> tuple[Array, None]:
        kernels = jax.random.normal(key, (2 if f.gated else 1, width, width))
        learned = {name: jnp.asarray(start, jnp.float32) for name, start in f.parameters}
        h = f(*(x @ kernel for kernel in kernels), **learned)
        size = jnp.linalg.norm(h, axis=-1, keepdims=True)
        return h / jnp.where(size > 0, size, 1.0), None

    first = jnp.zeros((2, width)).at[:, 0].set(jnp.array([1.0, -1.0]))  # the first layer reads a scalar
    last, _ = lax.scan(layer, first, jax.random.split(key, layers))
    return (last == 0).all(axis=-1)


def born_dead_of_one_sign(width: int, layers: int) -> float:
    """The share of ReLU networks of which `born_dead` is true at one input: `1 - (1 - 2^-width)^layers`.

    A layer that reads a fixed nonzero vector is 0 if all of its `width` pre-activations are negative, whose signs are
    independent. It bounds the share that is born dead (Lu et al. 2019, theorem 3.2 in one dimension).
    """
    return 1 - (1 - 2.0**-width) ** layers


def unit_shares(model: Any, variables: Mapping[str, Any], *inputs: Any) -> list[dict[str, Any]]:
    """One row per feed-forward layer, with shares of its hidden units on the inputs.

    layer: its path. dead: units whose value is 0 at every position. dormant: units whose mean |h| is at most
    `models.layers.telemetry.DORMANT` times that of all units of the layer (Sokar et al. 2023, arXiv:2302.12902),
    including the dead ones. off: units whose pre-activation, of a gated layer that of the gate, is positive nowhere;
    with ReLU they are the dead ones, and unlike these they compare between activations. Of a layer in which a value is
    nan, all shares are. Dropout is off.

    Raises ValueError for a model in which no such layers are found.
    """
    model, variables = unrolled(model, variables)
    found = _shares(model, variables, inputs)
    if not found:
        raise ValueError(f"{type(model).__name__} has no feed-forward layers whose units could be counted")
    return [{"layer": name, **{key: float(value) for key, value in row.items()}} for name, row in found.items()]


@partial(jax.jit, static_argnums=0)
def _shares(model: Any, variables: Any, inputs: Any) -> dict[str, dict[str, Float[Array, ""]]]:
    _, seen, real = around_activations(model, variables, inputs)
    rows = {}
    for layer in dict.fromkeys(name.rpartition("/")[0] for name in seen):
        z = seen.get(f"{layer}/gate", seen[f"{layer}/up"])
        counted = jnp.broadcast_to(real[layer][..., None] != 0 if layer in real else True, z.shape)
        off = ~(counted & (z > 0)).reshape(-1, z.shape[-1]).any(axis=0)
        h = seen[f"{layer}/hidden"].astype(jnp.float32)
        shares = units(h, real.get(layer))
        found = {"dead": shares["dead_share"], "dormant": shares["dormant_share"], "off": off.mean()}
        broken = (counted & (jnp.isnan(z) | jnp.isnan(h))).any()  # of which comparisons would make 0 or 1
        rows[layer] = {name: jnp.where(broken, jnp.nan, share) for name, share in found.items()}
    return rows
