"""Power laws of several arms with a common limit: the loss at a size, and the size needed for a loss."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import optimize

LARGEST_LIMIT = 0.99
"""Fraction of the lowest value; closer to it, that value alone would determine every exponent."""


class PowerLaws(NamedTuple):
    """limit + factor * x**-exponent, with a separate factor and exponent for each arm."""

    limit: float
    factor: Float[np.ndarray, " arms"]
    exponent: Float[np.ndarray, " arms"]

    def at(self, x: Float[np.ndarray, "arms sizes"]) -> Float[np.ndarray, "arms sizes"]:
        """The value at a size."""
        return self.limit + self.factor[:, None] * x ** -self.exponent[:, None]

    def size(self, arm: int, y: Float[np.ndarray, "*values"]) -> Float[np.ndarray, "*values"]:
        """The size at which an arm has these values, which must be above the limit."""
        return ((y - self.limit) / self.factor[arm]) ** (-1 / self.exponent[arm])


def power_laws(x: Float[np.ndarray, "arms sizes"], y: Float[np.ndarray, "arms sizes"]) -> PowerLaws:
    """Least-squares fit of power laws with a common limit to values y > 0 at sizes x > 0.

    A few sizes cannot separate an arm's limit from its exponent; the limit, the irreducible loss, belongs to the data,
    so that all arms determine it together. For a given limit, each arm is a line in log space with weights
    (y - limit)**2, which approximate residuals of y to first order; the limit, from 0 to 0.99 of the lowest value,
    minimizes the squared residuals of y itself. The form is that of Hoffmann et al. (2022), "Training compute-optimal
    large language models", in one of its sizes.
    Raises ValueError for fewer than 3 sizes or numbers that are not positive and finite.
    """
    if x.shape[-1] < 3:
        raise ValueError(f"a power law with a limit needs at least 3 sizes, not {x.shape[-1]}")
    if not (np.isfinite([x, y]).all() and (x > 0).all() and (y > 0).all()):
        raise ValueError("sizes and values of a power law must be positive and finite")
    logarithm = np.log(x)
    found = optimize.minimize_scalar(
        lambda limit: _lines(logarithm, y, limit)[2],
        bounds=(0, LARGEST_LIMIT * y.min()),
        method="bounded",
        options={"xatol": 1e-6 * y.min()},
    )
    intercept, slope, _ = _lines(logarithm, y, found.x)
    return PowerLaws(float(found.x), np.exp(intercept), -slope)


def _lines(
    x: Float[np.ndarray, "arms sizes"], y: Float[np.ndarray, "arms sizes"], limit: float
) -> tuple[Float[np.ndarray, " arms"], Float[np.ndarray, " arms"], float]:
    """Intercept and slope of log(y - limit) against x for each arm, and the sum of the squared residuals of y."""
    reducible = y - limit
    weight, z = reducible**2, np.log(reducible)
    middle, height = (np.average(values, axis=1, weights=weight) for values in (x, z))
    u, v = x - middle[:, None], z - height[:, None]
    slope = (weight * u * v).sum(axis=1) / (weight * u * u).sum(axis=1)
    residuals = reducible - np.exp(height[:, None] + slope[:, None] * u)
    return height - slope * middle, slope, float((residuals**2).sum())
