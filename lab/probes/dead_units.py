"""Units that no longer learn, since the slope of their activation vanishes at all inputs."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from models.activations import Activation, activation
from models.taps import around_activations, unrolled

SLOPE = 0.001
"""Largest |f'(z)| of a unit that counts as dead: with GELU z < -3.8, with leaky ReLU (slope 0.01) nowhere."""


def dead_units(
    task: Any, model: Any, variables: Mapping[str, Any], batch: Mapping[str, Shaped[Any, "batch_size *_"]]
) -> dict[str, float]:
    """By the path of each feed-forward layer, the share of units with |f'(z)| of at most `SLOPE` in every position of a
    batch, so that (almost) no gradient reaches the weights before them. Of ReLU these are the units that are never
    positive, thus those that `lab.probes.dying.unit_shares` and the telemetry call dead, by whose definition a unit's
    value is 0. Of a layer with an input of nan the share is nan.

    `task` is a `lab.tasks.task.Task`. Padding counts as a position. Dropout is off. Raises ValueError for an activation
    that is gated or has learned parameters, whose slope is not a function of z alone, and for a model without such
    layers.
    """
    f = activation(model.activation)
    if f.gated or f.parameters:
        raise ValueError(f"activation is '{f.name}': it must be pointwise and without learned parameters")
    model, variables = unrolled(model, variables)
    found = _dead_units(task, model, variables, dict(batch), f)
    if not found:
        raise ValueError(f"model is a {type(model).__name__}: it has no feed-forward layers")
    return {name: float(share) for name, share in found.items()}


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _dead_units(task: Any, model: Any, variables: Any, batch: Any, f: Activation) -> dict[str, Float[Array, ""]]:
    _, seen, _ = around_activations(model, variables, task.inputs(batch))
    found = {}
    for name, z in seen.items():
        layer, _, site = name.rpartition("/")
        if site == "up":
            slopes = jnp.abs(jax.jvp(f, (z,), (jnp.ones_like(z),))[1]).reshape(-1, z.shape[-1])
            share = (slopes.max(axis=0) <= SLOPE).astype(jnp.float32).mean()
            found[layer] = jnp.where(jnp.isnan(z).any(), jnp.nan, share)
    return found
