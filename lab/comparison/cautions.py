"""Reasons to doubt the verdicts of a comparison, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lab.comparison import tuning

if TYPE_CHECKING:
    from lab.comparison.comparison import Comparison
    from lab.results.results import Results

FEW = 5  # pairs: with fewer, the critical values of the t test are so large that only large effects are found


def cautions(results: Results, comparison: Comparison, choice: Sequence[str]) -> Iterator[str]:
    """The sentences, most serious first; `choice` says why the intervals exclude the uncertainty of the tuning."""
    arms, record = comparison.arms, results.experiment
    if comparison.direction is None:
        yield (
            f"the direction of {comparison.metric} is not declared, so no arm has a verdict: "
            f"add it to the task's directions, or pass {comparison.metric}:max or {comparison.metric}:min"
        )
    if absent := len(comparison.missing):
        yield f"{absent} of the requested items {'is' if absent == 1 else 'are'} missing"
    yield from results.ignored
    if record.get("budget") == "smoke":
        yield "the budget is smoke, which only tests that everything runs: the numbers are meaningless"
    if early := _early(results, comparison):
        yield early
    fewest = min(arm.n for arm in arms)
    if fewest < FEW:
        yield f"few pairs (at least one arm has only {fewest}): only large effects can be found"
    yield from _without_examples(results, comparison)
    yield from _made(results)
    yield from _tuned(results, comparison)
    yield from choice
    yield from _looked(comparison)
    groups = [one for one in (*comparison.baselines, *arms) if one.n_diverged]
    if groups:
        runs = ", ".join(f"{one.n_diverged} of {one.label}" for one in groups)
        yield f"runs diverged, and their pairs are excluded from the loss comparison: {runs}"


def _early(results: Results, comparison: Comparison) -> str:
    steps = results.experiment.get("steps", comparison.step)
    return f"compared at step {comparison.step} of {steps}" if comparison.step < steps else ""


def _without_examples(results: Results, comparison: Comparison) -> Iterator[str]:
    """Arms without a standard error over text, where others have one or only the baseline lacks its values."""
    asked = comparison.question
    unknown = [arm for arm in comparison.arms if arm.se_seeds_and_text is None]
    if 0 < len(unknown) < len(comparison.arms):
        names = ", ".join(arm.label for arm in unknown)
        yield f"no standard error over text for {names}: no losses per example that match the baseline's"
    if not comparison.baselines or len(unknown) < len(comparison.arms):
        return
    arm, baseline = (
        results.examples(one.cell, asked.split, asked.metric) if one.cell else None
        for one in (unknown[0], comparison.baselines[0])
    )
    if arm is not None and baseline is None:
        yield f"no standard error over text: {comparison.baselines[0].label}, the baseline, has no losses per example"


def _made(results: Results) -> Iterator[str]:
    versions = {made.get("versions", {}).get("jax") for made in results.environments}
    devices = {made.get("device") for made in results.environments}
    for how, which in (("with jax", versions), ("on", devices)):
        if len(known := sorted(which - {None})) > 1:
            yield f"runs were made {how} {' and '.join(known)}: their rounding differs, and long training amplifies it"


def _tuned(results: Results, comparison: Comparison) -> Iterator[str]:
    untuned = [arm.label for arm in comparison.arms if not arm.tuned]
    if untuned and results.experiment:
        which = "" if len(untuned) == len(comparison.arms) else f" ({', '.join(untuned)})"
        yield f"untuned{which}: compared at fixed learning rates; with tuned rates the order may differ"
    if (found := results.tuning) is not None:
        yield from tuning.warnings(tuning.tuned(found))


def _looked(comparison: Comparison) -> Iterator[str]:
    k, of = comparison.number
    if of > 1:
        yield f"comparison {k} of {of} on these results: with many comparisons, some find an effect by chance"
    if comparison.question.planned_looks is not None:
        return
    for counts in sorted({arm.looks for arm in comparison.arms if len(arm.looks) > 1}):
        yield (
            f"earlier looks: seeds were added after the results had been seen at {', '.join(map(str, counts[:-1]))} "
            "pairs; intervals and p values account for all looks"
        )
