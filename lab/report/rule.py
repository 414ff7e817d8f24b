"""The comparison rule in words: the decision rule, the plan, and the looks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from lab.comparison.comparison import Comparison
from lab.report import page
from lab.results import analysis_plan
from lab.statistics.looks import spent

if TYPE_CHECKING:
    from lab.results.results import Results

HOLDS = {
    "each": "The interval of each arm is valid for a claim about that arm, chosen beforehand.",
    "all": "Intervals are simultaneous over all arms.",
    "selected": "Intervals are those of the arms with a verdict; their false coverage rate is 1 - level.",
}
OVER = {
    "seeds": "Claims are about other seeds on the same evaluation data.",
    "seeds_and_text": "Claims are about other seeds and other data like these: intervals and p values are by the "
    "standard error over both; sign flips, BCa intervals and the probability of improvement are over seeds alone.",
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
        f"Each arm is compared with {comparison.baseline} at the same step and setting, paired by seed (the same "
        "initial weights and batches), over the pairs in which both runs trained; whether an arm diverges more often "
        "is tested separately, by McNemar's exact test.",
        f"A difference is resolved if its paired t test, corrected by Holm's method over {arms}, has p below {level}; "
        "missing arms count.",
    ]
    if asked.margin is not None:
        sentences[1] = (
            f"Better, worse and equivalent are one family of {arms} (missing ones count), in which any wrong verdict "
            f"has a probability of at most {level}: an arm is equivalent if two one-sided tests place its difference "
            f"within {asked.margin:g} with p below {level}, a difference declared negligible before the run."
        )
    return [*sentences, OVER[asked.over], HOLDS[asked.hold]]


def _choice(comparison: Comparison) -> list[str]:
    if not any(arm.se_choice for arm in comparison.arms):
        return []
    return ["Intervals and p values include the uncertainty of learning rates chosen from few runs."]


def _looks(comparison: Comparison) -> list[str]:
    if (looks := comparison.question.planned_looks) is not None:
        return [
            f"The number of seeds, between {looks[0]} and {looks[1]}, was chosen sequentially from the results: "
            "intervals and p values account for all looks."
        ]
    if not comparison.question.fixed_seeds:
        return [
            f"Seeds may be added after this look; p values hold for all looks together, of which the first spends "
            f"{spent(1):.0%} of {1 - comparison.level:.2g}."
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
