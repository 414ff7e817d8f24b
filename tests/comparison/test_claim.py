"""The rule that reads a claim: intervals against margins, and parts together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from lab.comparison.networks.claim import DEPENDS, FAILS, HOLDS, OPEN, Part, outcome, read, verdict

NUMBERS = st.floats(-10, 10)


@pytest.mark.parametrize(
    ("low", "high", "says", "expected"),
    [
        (0.1, 2.0, "more", HOLDS),
        (0.1, 0.9, "more", FAILS),  # there, but too little to matter
        (-3.0, -2.0, "more", FAILS),
        (-0.1, 2.0, "more", OPEN),
        (0.1, 2.0, "not more", FAILS),
        (-3.0, 0.9, "not more", HOLDS),
        (-0.1, 2.0, "not more", OPEN),
        (-0.9, 0.9, "same", HOLDS),
        (0.1, 0.9, "same", HOLDS),
        (1.5, 2.0, "same", FAILS),
        (-2.0, -1.5, "same", FAILS),
        (-0.9, 1.1, "same", OPEN),
        (0.5, 1.1, "same", OPEN),
        (-np.inf, np.inf, "more", OPEN),
        *((np.nan, np.nan, says, OPEN) for says in ("more", "not more", "same")),
    ],
)
def test_an_interval_is_read_against_its_margin(low, high, says, expected):
    assert outcome(low, high, 1.0, says) == expected


@given(NUMBERS, NUMBERS, st.floats(0.01, 5))
def test_not_more_is_the_opposite_of_more(one, other, margin):
    low, high = sorted((one, other))
    opposite = {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}
    assert outcome(low, high, margin, "not more") == opposite[outcome(low, high, margin, "more")]


@given(
    NUMBERS, NUMBERS, st.floats(0.01, 5), st.sampled_from([0.25, 8.0]), st.sampled_from(["more", "not more", "same"])
)
def test_the_unit_does_not_matter(one, other, margin, unit, says):
    low, high = sorted((one, other))
    assert outcome(unit * low, unit * high, unit * margin, says) == outcome(low, high, margin, says)


@pytest.mark.parametrize("margin", [0.0, -1.0, np.nan, np.inf])
def test_a_margin_must_be_positive(margin):
    with refused("margin", str(margin)):
        outcome(0, 1, margin)


@pytest.mark.parametrize(
    ("outcomes", "every", "there_is_one"),
    [
        ([HOLDS, HOLDS], HOLDS, HOLDS),
        ([FAILS, FAILS], FAILS, FAILS),
        ([HOLDS, FAILS, OPEN], DEPENDS, HOLDS),
        ([HOLDS, OPEN], OPEN, HOLDS),
        ([FAILS, OPEN], OPEN, OPEN),
        ([OPEN], OPEN, OPEN),
    ],
)
def test_parts_together(outcomes, every, there_is_one):
    named = {str(place): one for place, one in enumerate(outcomes)}
    assert verdict(named) == every
    assert verdict(named, every=False) == there_is_one


def test_a_claim_needs_parts_that_can_be_told_apart():
    with refused("part"):
        verdict({})
    with refused("condition", "'a'"):
        read([Part("a", np.ones(2), 1.0), Part("a", np.ones(2), 1.0)])


def test_more_parts_have_wider_intervals_but_exact_ones_do_not_count():
    values = np.array([0.1, 0.2, 0.4, 0.3])
    (alone,) = read([Part("a", values, 0.01)])
    first, _ = read([Part("a", values, 0.01), Part("b", values, 0.01)])
    beside, exact = read([Part("a", values, 0.01), Part("c", values[:1], 0.2, "same", centre="exact")])
    assert first.high - first.low > alone.high - alone.low == beside.high - beside.low
    assert (exact.low, exact.value, exact.high, exact.n, exact.outcome) == (0.1, 0.1, 0.1, 0, HOLDS)


def test_a_value_that_is_not_finite_leaves_a_part_open():
    (found,) = read([Part("a", np.array([1.0, np.inf, 1.0]), 0.1)])
    assert found.outcome == OPEN
    assert np.isnan(found.value)


def test_a_median_is_not_moved_by_an_outlier():
    values = np.array([0.9, 1.0, 1.1] * 7)
    values[0] = 1e6
    (found,) = read([Part("a", values, 0.5, centre="median")])
    assert 0.9 <= found.low <= found.value == 1.0 <= found.high <= 1.1
    assert found.outcome == HOLDS
