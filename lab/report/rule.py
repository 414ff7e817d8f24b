"""The rule of comparison in words: what decided, what was planned before the runs, and what was looked at."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from lab.comparison.comparison import Comparison
from lab.report import page
from lab.results import analysis_plan

if TYPE_CHECKING:
    from lab.results.results import Results

HOLDS = {
    "each": "The interval of each arm is for a claim about that arm, named beforehand.",
    "all": "Intervals hold for all arms at once.",
    "selected": "Intervals are of the arms with a verdict; their false coverage rate is 1 - level.",
}


def rule(results: Results, comparison: Comparison) -> list[page.Part]:
    """The parts."""
    sentences = [*_tests(comparison), *_choice(comparison), *_looks(comparison)]
    return [
        page.heading("The rule of comparison"),
        f"<p>{escape(' '.join(sentences))}</p>",
        f"<p>{escape(' '.join(_planned(results, comparison)))}</p>",
    ]


def _tests(comparison: Comparison) -> list[str]:
    level, asked = f"{1 - comparison.level:.2g}", comparison.question
    arms = "1 arm" if comparison.family_size == 1 else f"{comparison.family_size} arms"
    sentences = [
        f"Each arm meets {comparison.baseline} at the same step and setting, seed by seed (the same initial weights "
        "and batches), among the pairs in which both runs trained; whether an arm diverges more often is a question of "
        "its own, by McNemar's exact test.",
        f"A difference is resolved if its paired t test, corrected by Holm's method over {arms}, has p below {level}; "
        "requested arms that are absent count.",
    ]
    if asked.margin is not None:
        sentences[1] = (
            f"Better, worse and equivalent are one family of {arms} (absent ones count), in which any wrong verdict "
            f"has a probability of at most {level}: an arm is equivalent if two one-sided tests place its difference "
            f"within {asked.margin:g} with p below {level}, which was said before the run not to matter."
        )
    return [*sentences, HOLDS[asked.hold]]


def _choice(comparison: Comparison) -> list[str]:
    if not any(arm.se_choice for arm in comparison.arms):
        return []
    return ["Intervals and p values include that the learning rates were chosen from few runs."]


def _looks(comparison: Comparison) -> list[str]:
    if (looks := comparison.question.planned_looks) is not None:
        return [
            f"The results decided how many seeds were trained, between {looks[0]} and {looks[1]}: intervals and p "
            "values hold for all looks together."
        ]
    return []


def _planned(results: Results, comparison: Comparison) -> list[str]:
    k, of = comparison.number
    plan = results.experiment.get("plan")
    if plan is None:
        return [f"Comparison {k} of {of}. Plan: not recorded."]
    origin = f"{plan['file']}, " if plan.get("file") else ""
    changed = analysis_plan.changed(results.experiment, vars(comparison.question))
    since = f"; changed since: {', '.join(changed)}" if changed else ""
    return [f"Comparison {k} of {of}. Plan ({origin}SHA-256 {plan['sha256'][:12]}): written before the runs{since}."]
