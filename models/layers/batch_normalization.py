"""Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167), alone and behind a linear map."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

# Lasagne's defaults, with which Hendrycks and Gimpel (2016) trained; Flax's are 0.99 and 1e-5.
MOMENTUM = 0.9
EPSILON = 1e-4


def batch_norm(train: bool, name: str) -> nn.BatchNorm:
    """Normalizes each feature, the last axis, over all others, and has a `scale` and a `bias` of it.

    In training by the mean and variance of the batch, of which running averages are kept in the collection
    "batch_stats"; else by those averages.
    """
    return nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON, name=name)


class BatchNormalized(nn.Module):
    """A linear map and batch normalization of what it gives.

    `linear` makes the map, given its name and `features`; a bias of its own would be taken away with the mean.
    """

    linear: Callable[..., nn.Module]
    features: int
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*positions features"]:
        """`norm(map(x))`."""
        return batch_norm(self.train, name="norm")(self.linear(self.features, name="map")(x))
