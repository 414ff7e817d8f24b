"""Batch normalization (Ioffe and Szegedy 2015, arXiv:1502.03167), alone and after a linear map."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

# The defaults of Lasagne, which Hendrycks and Gimpel (2016) used; Flax's are 0.99 and 1e-5.
MOMENTUM = 0.9
EPSILON = 1e-4


def batch_norm(train: bool, name: str) -> nn.BatchNorm:
    """Normalizes each feature (last axis) over all other axes, with a learned `scale` and `bias`.

    In training it uses the mean and variance of the batch and updates their running averages in the collection
    "batch_stats"; otherwise it uses these averages.
    """
    return nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON, name=name)


class BatchNormalized(nn.Module):
    """A linear map followed by batch normalization.

    `linear` creates the map, given its name and `features`; a bias would be removed with the mean.
    """

    linear: Callable[..., nn.Module]
    features: int
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*positions features"]:
        """`norm(map(x))`."""
        return batch_norm(self.train, name="norm")(self.linear(self.features, name="map")(x))
