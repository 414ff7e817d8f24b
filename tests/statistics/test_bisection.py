"""Bisection finds the threshold of every search, and says where there is none in the range."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from lab.statistics.bisection import bisected, largest_with_share

LOW, HIGH = -2.0, 3.0


@given(st.lists(st.floats(-1.99, 2.99), min_size=1, max_size=6), st.integers(0, 12))
def test_every_bracket_holds_its_threshold_and_is_halved_each_round(thresholds, rounds):
    at = np.array(thresholds)
    found = bisected(lambda position: position <= at, LOW, HIGH, rounds, at.shape)
    assert (found.low <= at).all()
    assert (at < found.high).all()
    np.testing.assert_allclose(found.high - found.low, (HIGH - LOW) / 2**rounds)
    assert not found.censored.any()
    assert (abs(found.middle - at) <= (HIGH - LOW) / 2 ** (rounds + 1) + 1e-12).all()


def test_searches_ask_together_once_a_round_and_never_twice_for_a_position():
    at, asked = np.array([-5.0, 0.3, 5.0]), []

    def holds(position):
        asked.append(position.copy())
        return position <= at

    bisected(holds, LOW, HIGH, 5, at.shape)
    assert len(asked) == 7
    assert all(len(set(positions)) == 7 for positions in zip(*asked, strict=True))


def test_thresholds_outside_of_the_range_are_censored():
    at = np.array([-5.0, 0.3, 5.0])
    found = bisected(lambda position: position <= at, LOW, HIGH, 3, at.shape)
    np.testing.assert_array_equal(found.censored, [True, False, True])
    assert (found.low[0], found.high[0]) == (-np.inf, LOW)
    assert (found.low[2], found.high[2]) == (HIGH, np.inf)
    assert (found.middle[0], found.middle[2]) == (LOW, HIGH)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=9), st.sampled_from([0.2, 0.5, 0.7, 0.75, 1.0]))
def test_the_share_reaches_the_position_and_no_larger_threshold(thresholds, share):
    at = np.array(thresholds)
    found = largest_with_share(at, share)
    assert np.mean(at >= found) >= share - 1e-9
    assert all(np.mean(at >= other) < share for other in at[at > found])


def test_what_is_no_search_is_refused():
    def never(position):
        raise AssertionError("asked before it was refused")

    with refused("low", "1.0"):
        bisected(never, 1.0, 1.0, 3)
    with refused("rounds", "-1"):
        bisected(never, 0.0, 1.0, -1)
    for share in (0.0, 1.5):
        with refused("share", share):
            largest_with_share(np.ones(3), share)
