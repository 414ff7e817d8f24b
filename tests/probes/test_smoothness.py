"""The smoothness of a loss along its gradient."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

from lab.probes.smoothness import smoothness

WEIGHTS = jnp.array([3.0, -4.0])


@dataclass(frozen=True)
class Bowl:
    """A task and a model in one, whose loss is (a x^2 + b y^2) / 2, with a ridge at x = 0 of this height."""

    curvatures: tuple[float, float]
    ridge: float = 0.0

    def inputs(self, batch):
        return ()

    def apply(self, variables):
        return variables["params"]

    def loss(self, outputs, batch):
        return (jnp.array(self.curvatures) * outputs**2).sum() / 2 + self.ridge * jnp.abs(outputs[0])


def of(bowl, distances, weights=WEIGHTS):
    return np.asarray(smoothness(bowl, bowl, {"params": weights}, {}, distances))


@pytest.mark.parametrize("curvatures", [(2.0, 2.0), (1.0, 5.0)])
def test_of_a_quadratic_loss_it_is_the_curvature_along_the_gradient_at_every_distance(curvatures):
    gradient = np.array(curvatures) * np.asarray(WEIGHTS)
    expected = np.linalg.norm(curvatures * gradient) / np.linalg.norm(gradient)
    np.testing.assert_allclose(of(Bowl(curvatures), (0.01, 0.1, 1.0)), expected, rtol=1e-3)


def test_a_kink_that_is_crossed_shows_the_more_the_nearer_it_is():
    kinked = Bowl((1.0, 1.0), ridge=1.0)
    before, after, further = of(kinked, (0.05, 0.2, 1.0), jnp.array([0.1, 0.0]))
    assert before == pytest.approx(1.0, rel=1e-3)
    assert after == pytest.approx(1 + 2 / 0.2, rel=1e-3)
    assert further == pytest.approx(1 + 2 / 1.0, rel=1e-3)


def test_a_distance_must_be_positive():
    with refused("distances", "0"):
        of(Bowl((1.0, 1.0)), (0.1, 0.0))
