"""The Pareto front against a plain loop, and its probability on draws."""

import numpy as np
import pytest

from lab.statistics.arms.pareto import front, probability_of_front


def test_the_front_is_that_of_a_plain_loop():
    costs = np.random.default_rng(0).integers(0, 4, (50, 7, 3)).astype(float)
    for one, found in zip(costs, front(costs), strict=True):
        by_hand = [not any((b <= a).all() and (b < a).any() for b in one) for a in one]
        assert found.tolist() == by_hand


def test_equal_arms_do_not_dominate_each_other():
    assert front(np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0]])).tolist() == [True, True, False]


def test_the_probability_is_the_share_of_draws():
    draws = np.array([[[0.0], [1.0]], [[0.0], [1.0]], [[2.0], [1.0]], [[1.0], [1.0]]])
    assert probability_of_front(draws).tolist() == [0.75, 0.5]


def test_an_arm_without_a_value_is_refused():
    with pytest.raises(ValueError, match="nan"):
        front(np.array([[np.nan], [1.0]]))
