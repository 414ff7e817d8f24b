"""Many arms with one baseline: the family of verdicts, and intervals for all arms or for the resolved ones."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from lab.statistics.arms.family import intervals, verdicts
from lab.statistics.calibration.check import Check, blocks, rate
from lab.statistics.equivalence import equivalence
from lab.statistics.paired import PairedT, holm, paired_t

N = 8
RESOLVED = {5: ".54", 30: ".20", 84: ".12"}
FAMILIES = {1: (5, 20), 5: (5, 20), 10: (8,)}
WIDTHS = (1.0, 2.0, 4.0)  # margins, in standard errors


def checks(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    """Wrong verdicts on mixed truths; coverage of all arms at once, and of those that Holm's rule resolved."""
    for arms, counts in FAMILIES.items():
        for n in counts:
            yield _family(rng, experiments, arms, n)
    for arms, then in RESOLVED.items():
        yield from _intervals(rng, experiments, arms, then)


def to_baseline(rng: np.random.Generator, count: int, arms: int, n: int) -> Float[np.ndarray, "count arms n"]:
    """Differences with variance 1 and mean 0 to a baseline shared by all arms."""
    runs = rng.standard_normal((count, arms + 1, n)) / np.sqrt(2)
    return runs[:, 1:] - runs[:, :1]


def _family(rng: np.random.Generator, experiments: int, arms: int, n: int) -> Check:
    """The highest rate over margins and truths: all arms at 0, at the margin, or alternately at 0 and either margin."""
    before, now = [], []
    for width in WIDTHS:
        margin = width / np.sqrt(n)
        for pattern in ((0,), (margin,), (0, margin, -margin)):
            truth, wrong, wrong_before = np.resize(pattern, arms), [], []
            for count in blocks(experiments):
                differences = to_baseline(rng, count, arms, n) + truth[:, None]
                t, equal_p = paired_t(differences), equivalence(differences, margin).p_value
                wrong.append(_wrong(verdicts(t.mean, t.p_value, equal_p), truth, margin))
                apart = np.where(holm(equal_p) < 0.05, "equivalent", verdicts(t.mean, t.p_value))
                wrong_before.append(_wrong(apart, truth, margin))
            now.append(rate(wrong))
            before.append(rate(wrong_before))
    setting = f"{arms} arm{'s' * (arms > 1)}, {n} pairs, worst of 9 mixtures"
    return Check("arms", setting, "any wrong verdict", "up to .079", max(before), max(now), 0, 0.05, experiments)


def _wrong(found: np.ndarray, truth: np.ndarray, margin: float) -> np.ndarray:
    wrong = (found == "better") & (truth >= 0) | (found == "worse") & (truth <= 0)
    return (wrong | (found == "equivalent") & (np.abs(truth) >= margin)).any(axis=-1)


def _intervals(rng: np.random.Generator, experiments: int, arms: int, then: str) -> Iterator[Check]:
    """Effects are normal, with a standard deviation of one standard error."""
    at_once, share = [], []
    resolved = np.zeros(4)  # arms, and how many are covered by intervals for each, for the selected, for all
    for count in blocks(experiments, 200_000 // (arms * N)):
        effects = rng.standard_normal((count, arms)) / np.sqrt(N)
        differences = to_baseline(rng, count, arms, N) + effects[..., None]
        selected = holm(paired_t(differences).p_value) < 0.05
        kinds = [intervals(differences, hold="each"), intervals(differences, hold="selected", selected=selected)]
        kinds.append(intervals(differences, hold="all"))
        hit = [_covers(t, effects) for t in kinds]
        at_once.append(hit[2].all(axis=-1))
        share.append((~hit[1] & selected).sum(axis=-1) / np.maximum(selected.sum(axis=-1), 1))
        resolved += [selected.sum(), *((one & selected).sum() for one in hit)]
    each, of_selected, of_all = resolved[1:] / max(resolved[0], 1)
    setting, found = f"{arms} arms, {N} pairs, effects of 1 SE", max(int(resolved[0]), 1)
    covers, kept = rate(at_once), 1 - rate(share)
    yield Check("arms", setting, "all arms covered at once", "-", np.nan, covers, 0.94, 1, experiments)
    yield Check("arms", setting, "1 - false coverage rate", "-", np.nan, kept, 0.95, 1, experiments)
    yield Check("arms", setting, "resolved arms covered, 'all'", then, each, of_all, None, None, found)
    yield Check("arms", setting, "resolved arms covered, 'selected'", then, each, of_selected, None, None, found)


def _covers(t: PairedT, effects: Float[np.ndarray, "count arms"]) -> np.ndarray:
    return (t.low <= effects) & (effects <= t.high)
