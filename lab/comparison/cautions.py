"""Reasons to doubt the verdicts of a comparison, in sentences shown beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lab.comparison import tuning

if TYPE_CHECKING:
    from lab.comparison.comparison import Comparison
    from lab.results.results import Results

FEW = 5  # pairs: with fewer, the t test's critical values are so large that only large effects are found


def cautions(results: Results, comparison: Comparison, choice: Sequence[str]) -> Iterator[str]:
    """The sentences, most serious first; `choice` says why intervals exclude the uncertainty of the tuning."""
    arms, record = comparison.arms, results.experiment
    if comparison.direction is None:
        yield (
            f"nobody has declared whether more or less of {comparison.metric} is better, so that no arm has a verdict: "
            f"name it in the task's directions, or ask for {comparison.metric}:max or {comparison.metric}:min"
        )
    if absent := len(comparison.missing):
        yield f"{absent} of the requested items {'is' if absent == 1 else 'are'} absent (see missing)"
    yield from results.ignored
    if record.get("budget") == "smoke":
        yield "the budget is smoke, which shows that everything runs: the numbers mean nothing"
    if early := _early(results, comparison):
        yield early
    fewest = min(arm.n for arm in arms)
    if fewest < FEW:
        yield f"few pairs: {fewest} where fewest, of which only large effects can be found"
    yield from _tuned(results, comparison)
    yield from choice
    yield from _looked(comparison)
    groups = [one for one in (*comparison.baselines, *arms) if one.n_diverged]
    if groups:
        runs = ", ".join(f"{one.n_diverged} of {one.label}" for one in groups)
        yield f"runs diverged, and their pairs are left out of the loss: {runs}"


def _early(results: Results, comparison: Comparison) -> str:
    steps = results.experiment.get("steps", comparison.step)
    return f"compared at step {comparison.step} of {steps}" if comparison.step < steps else ""


def _tuned(results: Results, comparison: Comparison) -> Iterator[str]:
    untuned = [arm.label for arm in comparison.arms if not arm.tuned]
    if untuned and results.experiment:
        which = "" if len(untuned) == len(comparison.arms) else f" ({', '.join(untuned)})"
        yield f"untuned{which}: compared at given learning rates; at each arm's best the order may be another"
    if (found := results.tuning) is not None:
        yield from tuning.warnings(tuning.tuned(found))


def _looked(comparison: Comparison) -> Iterator[str]:
    k, of = comparison.number
    if of > 1:
        yield f"comparison {k} of {of} that were looked at: of many, some find something by chance"
    if comparison.question.planned_looks is not None:
        return
    for counts in sorted({arm.looks for arm in comparison.arms if len(arm.looks) > 1}):
        yield (
            f"looked at before: seeds were added after results had been seen at {', '.join(map(str, counts[:-1]))} "
            "pairs; intervals and p values hold for all these looks together"
        )
