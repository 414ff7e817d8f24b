"""Durations: sides in turn, and as many steps as fit."""

from lab.probes import timing


def test_sides_are_measured_in_turn():
    order = []
    sides = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert timing.in_turn(sides, 3) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert "".join(order) == "ababab"


def test_as_many_steps_are_timed_as_fit_but_not_the_first():
    durations = iter([100.0, 0.25])
    assert timing.fitting(lambda steps: next(durations), 2.0) == 8
    assert timing.fitting(lambda steps: 1e9, 2.0, at_least=4) == 4
