"""The earlier looks that count for an arm: those at which it had fewer seeds than now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lab.results.looks import Look, add
from lab.results.record import FILE

if TYPE_CHECKING:
    from lab.comparison.comparison import Comparison
    from lab.results.results import Results


def seen(comparison: Comparison) -> Look:
    """The look that this comparison is."""
    seeds = {arm.key: tuple(sorted(arm.seeds)) for arm in comparison.arms}
    asked = comparison.question
    return Look(asked.baseline, asked.metric, asked.split, comparison.step, seeds, asked.over)


def record(results: Results, comparison: Comparison) -> str | None:
    """Record that a comparison was shown; returns a sentence if that is impossible, as in a read-only folder."""
    if not (results.directory / FILE).is_file():  # rows alone, or results that are in no folder
        return None
    try:
        add(results.directory, seen(comparison))
    except OSError as error:
        return f"this look could not be recorded: {error.strerror}: {error.filename}"
    return None


def ordered(
    earlier: Sequence[Look], keys: Sequence[str], seeds: Sequence[int], diverged: Collection[int]
) -> tuple[list[int], tuple[int, ...]]:
    """The paired seeds of an arm, or of a contrast of several arms, which needs all of them, in the order in which they
    were seen, and the number of trained pairs at every look, the current one last.

    Looks at any metric count, since metrics of one run are correlated. Looks at fewer than 2 trained pairs showed no
    test.
    """
    order: list[int] = []
    ends: list[int] = []
    before = [set.intersection(*(set(look.seeds.get(key, ())) for key in keys)) if keys else set() for look in earlier]
    for shown in [*before, seeds]:
        order += [seed for seed in sorted(shown) if seed in seeds and seed not in order]
        ends.append(sum(seed not in diverged for seed in order))
    return order, tuple(dict.fromkeys(end for end in ends if end >= 2))
