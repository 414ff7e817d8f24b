"""Repeated looks at verdicts: planned after every pair, and unplanned."""

from collections.abc import Iterator

import numpy as np

from lab.statistics.arms.family import adjusted
from lab.statistics.calibration.check import Check, blocks, rate
from lab.statistics.equivalence import equivalence
from lab.statistics.looks import equivalence_after, p_after
from lab.statistics.paired import paired_t
from lab.statistics.sequential import repeated_equivalence

FIRST = 3
SEEDS = {8: ".09 to .10", 20: ".15 to .16", 40: ".16 to .20"}
ARMS = (1, 5)
MARGIN = 3.0  # paired sd: so wide that only one edge matters, where the rate is largest
BY_HAND = {(5, 8, 12, 16, 20): ".146", tuple(range(4, 21, 2)): ".180"}


def checks(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    """Wrong verdicts at any look: "equivalent" at the margin, and a difference if there is none."""
    for seeds, then in SEEDS.items():
        for arms in ARMS:
            yield _planned(rng, experiments, seeds, arms, then)
    for looks, then in BY_HAND.items():
        yield from _by_hand(rng, experiments, looks, then)


def _planned(rng: np.random.Generator, experiments: int, seeds: int, arms: int, then: str) -> Check:
    before, now = [], []
    looks = range(FIRST, seeds + 1)
    for count in blocks(experiments, 40_000 // (seeds * arms)):
        runs = rng.standard_normal((count, arms + 1, seeds)) / np.sqrt(2)
        differences = runs[:, 1:] - runs[:, :1] + MARGIN
        equal = repeated_equivalence(differences, MARGIN, FIRST, seeds)[..., -1]  # never increases
        now.append((adjusted(equal, equal)[0] < 0.05).any(axis=-1))
        each = np.stack([equivalence(differences[..., :n], MARGIN).p_value for n in looks], axis=-1)
        before.append((each * arms < 0.05).any(axis=(-2, -1)))
    setting = f"sequential, at most {seeds} seeds, {arms} arm{'s' * (arms > 1)}"
    return Check("looks", setting, "false equivalent", then, rate(before), rate(now), 0.0, 0.05, experiments)


def _by_hand(rng: np.random.Generator, experiments: int, looks: tuple[int, ...], then: str) -> Iterator[Check]:
    hits: list[list[np.ndarray]] = [[], [], [], []]
    for count in blocks(experiments):
        null = rng.standard_normal((count, looks[-1]))
        at_margin = null + MARGIN
        hits[0].append(np.any([paired_t(null[:, :n]).p_value < 0.05 for n in looks], axis=0))
        hits[1].append(p_after(null, looks)[:, -1] < 0.05)
        hits[2].append(np.any([equivalence(at_margin[:, :n], MARGIN).p_value < 0.05 for n in looks], axis=0))
        hits[3].append(equivalence_after(at_margin, looks, MARGIN)[:, -1] < 0.05)
    rates = [rate(values) for values in hits]
    setting = "seeds added by hand: " + (", ".join(map(str, looks)) if len(looks) < 6 else "every 2 from 4 to 20")
    yield Check("looks", setting, "false differences", then, rates[0], rates[1], 0.0, 0.05, experiments)
    yield Check("looks", setting, "false equivalent", "-", rates[2], rates[3], 0.0, 0.05, experiments)
