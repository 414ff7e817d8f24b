"""How smooth the loss is along its gradient."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax
from jax import lax
from jaxtyping import Array, Float, Shaped


def smoothness(
    task: Any,
    model: Any,
    variables: Mapping[str, Any],
    batch: Mapping[str, Shaped[Any, "batch_size *_"]],
    distances: Sequence[float],
) -> Float[Array, " distances"]:
    """How fast the gradient g of the loss turns on the way down: `||g(w) - g(w - t g/||g||)|| / t` at each distance t.

    The largest of them is the effective beta-smoothness of Santurkar et al. (2018, arXiv:1805.11604, section 3.1), by
    which a loss is smoother the smaller it is. `task` is a `lab.tasks.task.Task`; distances are in the norm of all
    parameters. Dropout is off. Raises ValueError if a distance is not positive.
    """
    if not all(t > 0 for t in distances):
        raise ValueError(f"distances are {' '.join(f'{t:g}' for t in distances)}: each must be positive")
    with jax.default_matmul_precision("float32"):
        return _smoothness(task, model, dict(variables), dict(batch), tuple(distances))


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _smoothness(task: Any, model: Any, variables: Any, batch: Any, distances: tuple[float, ...]) -> Array:
    others = {name: tree for name, tree in variables.items() if name != "params"}

    def gradient(params: Any) -> Any:
        return jax.grad(lambda one: task.loss(model.apply({"params": one, **others}, *task.inputs(batch)), batch))(
            params
        )

    params = variables["params"]
    here = gradient(params)
    norm = optax.tree.norm(here)

    def turned(t: Array) -> Array:
        there = gradient(jax.tree.map(lambda weight, slope: weight - t * slope / norm, params, here))
        return optax.tree.norm(jax.tree.map(lambda one, other: one - other, there, here)) / t

    return lax.map(turned, jax.numpy.asarray(distances))
