"""Power laws: recovered from values that follow them, and turned round."""

import numpy as np
import pytest
from refusals import refused
from scipy import optimize

from lab.statistics.curves.power_laws import PowerLaws, power_laws

LAWS = PowerLaws(1.1, np.array([3.0, 8.0]), np.array([0.2, 0.35]))
X = np.array([[1e3, 4e3, 1e4, 9e4], [1.1e3, 4e3, 1.2e4, 9e4]])


def test_laws_are_recovered_from_values_that_follow_them():
    found = power_laws(X, LAWS.at(X))
    assert found.limit == pytest.approx(LAWS.limit, abs=1e-3)
    np.testing.assert_allclose(found.exponent, LAWS.exponent, rtol=5e-3)
    np.testing.assert_allclose(found.factor, LAWS.factor, rtol=1e-2)


def test_of_noisy_values_the_squared_residuals_are_all_but_the_least():
    y = LAWS.at(X) + np.random.default_rng(0).normal(0, 0.02, X.shape)

    def residuals(values):
        return np.ravel(PowerLaws(values[0], np.exp(values[1:3]), values[3:]).at(X) - y)

    least = optimize.least_squares(residuals, [LAWS.limit, *np.log(LAWS.factor), *LAWS.exponent])
    assert ((power_laws(X, y).at(X) - y) ** 2).sum() < 1.02 * 2 * least.cost


def test_a_limit_is_never_negative():
    straight = 5 - 0.4 * np.log(X)  # what a limit of minus infinity would fit
    found = power_laws(X, straight)
    assert 0 <= found.limit < 0.01


def test_the_size_of_a_value_is_where_the_law_has_it():
    np.testing.assert_allclose(LAWS.size(1, LAWS.at(X)[1]), X[1], rtol=1e-10)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X[:, :2], X[:, :2], ("sizes", "3", "2")),
        (X, np.where(X > 5e4, np.nan, 1.0), ("positive",)),
        (-X, X, ("positive",)),
    ],
)
def test_what_cannot_be_fitted_is_refused(x, y, words):
    with refused(*words):
        power_laws(x, y)
