"""What the dense layers of networks read: the largest value of each feature, and how heavy the tails are."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from models.quantized import dense_inputs


class Inputs(NamedTuple):
    """The inputs of a dense layer: the largest |x| of each feature, [*runs, inner]; and over all features, [*runs]:
    kurtosis (fourth standardized moment, 3 for a normal distribution), and largest over median |x|.

    Scanned layers have one more leading axis.
    """

    limit: Float[Array, "*runs inner"]
    kurtosis: Float[Array, "*runs"]
    max_over_median: Float[Array, "*runs"]


@partial(jax.jit, static_argnums=(0, 1))
def read(
    task: Any, model: Any, params: Mapping[str, Any], batches: Mapping[str, Shaped[Array, "batches batch_size *_"]]
) -> dict[str, Inputs]:
    """What every dense layer of networks of one model reads on a task's batches, by the layer's path.

    Leaves of `params` have a leading axis of runs. The median is the mean over the batches of each one's median.
    """

    def of_network(own: Any) -> dict[str, Inputs]:
        def of_batch(batch: Any) -> dict[str, Any]:
            read = dense_inputs(model, {"params": own}, *task.inputs(batch))
            return {path: _of(path)(x.astype(jnp.float32)) for path, x in read.items()}

        parts = jax.lax.map(of_batch, dict(batches))
        return {path: _together(*part) for path, part in parts.items()}

    return jax.vmap(of_network)(params)


def _of(path: str) -> Callable[[Array], tuple[Array, Array, Array]]:
    """The summary of a layer, or of each of scanned layers."""
    return jax.vmap(_summary) if path.partition("/")[0].endswith("layers") else _summary


def _summary(x: Float[Array, "*rows inner"]) -> tuple[Array, Array, Array]:
    """Of a batch: the largest |x| of each feature, the mean powers 1 to 4, and the median |x|."""
    magnitude = jnp.abs(x)
    powers = jnp.stack([(x**power).mean() for power in (1, 2, 3, 4)])
    return magnitude.reshape(-1, x.shape[-1]).max(axis=0), powers, jnp.median(magnitude)


def _together(limits: Array, powers: Array, medians: Array) -> Inputs:
    """Of all batches, which come first."""
    m1, m2, m3, m4 = jnp.moveaxis(powers.mean(axis=0), -1, 0)
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    limit = limits.max(axis=0)
    return Inputs(limit, fourth / (m2 - m1**2) ** 2, limit.max(axis=-1) / medians.mean(axis=0))
