"""A gate for automated work: whether results do what was asked of them beforehand, with the evidence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lab.comparison import looks, outcomes
from lab.comparison.comparison import Arm, compare
from lab.comparison.family import asked_for
from lab.comparison.question import Question, last_common_step, question
from lab.comparison.verdict import Pairs, evidence
from lab.files.choices import nearest
from lab.results import analysis_plan, results
from lab.results.analysis_plan import AnalysisPlan, Rule
from lab.results.results import Results

Answer = Literal["pass", "fail", "inconclusive"]
EXIT_CODES: Mapping[Answer, int] = {"pass": 0, "fail": 1, "inconclusive": 3}
BEFORE = "recorded before the runs"
AFTER = "not recorded before the runs; it asks what experiment.json asked"


@dataclass(frozen=True)
class Outcome:
    """What became of a rule. `difference` is arm minus baseline, `p` that of the rule's claim and `n` the number of
    pairs in which both runs trained; None where there are too few."""

    rule: Rule
    answer: Answer
    why: str
    n: int
    difference: float | None
    p: float | None


@dataclass(frozen=True)
class Decision:
    """Pass if every rule holds, fail if any is refuted, else inconclusive."""

    answer: Answer
    plan: str
    outcomes: tuple[Outcome, ...]
    missing: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive."""
        return EXIT_CODES[self.answer]

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """The evidence for a rule: the pairs of an arm, and whether it diverges more often than its baseline."""

    pairs: Pairs
    less_stable: bool


def gate(directory: Path, other: Path | None = None, plan: Path | None = None) -> Decision:
    """Holds the rules of a plan against the arms of `directory`, each with its baseline; or against those of `other`
    results, each with the same arm of `directory`: was a change for the worse?

    Of two folders without a plan every arm must not be worse by the experiment's margin. All rules must hold, so that
    their number needs no correction. Raises ValueError for a plan without rules, and for what was not asked for before
    the runs: another plan than the recorded one, another metric, step or number of seeds, an arm that nobody trained.
    """
    first = results.read(directory)
    if plan is None and other is None:
        raise ValueError(f"to gate {directory}, give --plan FILE, or a second folder of results")
    planned, status = _planned(first, plan)
    asked = replace(question(first), margin=first.experiment.get("margin"))
    if asked.direction is None:
        raise ValueError(
            f"nobody has declared whether more or less of {asked.metric} is better: nothing can be held to it"
        )
    if other is None:
        compared = compare(first, step=planned.step)
        subjects = {arm.label: _of_arm(arm, asked) for arm in compared.arms}
        told = {"missing": compared.missing, "cautions": compared.cautions}
        looks.record(first, compared)
    else:
        subjects, told = _between(first, results.read(other), asked, planned.step), {}
    rules = planned.rules or tuple(Rule(label, "not worse") for label in subjects)
    if not rules or (plan is not None and not planned.rules):
        raise ValueError(f"{plan or directory} has no rules: say what must hold, such as arm, verdict, by, p and pairs")
    found = tuple(_outcome(rule, _subject(rule, subjects, first, asked), asked) for rule in rules)
    answers = {one.answer for one in found}
    answer: Answer = "fail" if "fail" in answers else "inconclusive" if "inconclusive" in answers else "pass"
    return Decision(answer, status, found, **told)


def _planned(found: Results, path: Path | None) -> tuple[AnalysisPlan, str]:
    """The plan, and whether it was recorded before the runs."""
    if path is None:
        return AnalysisPlan(), "none: no arm may be worse by the experiment's margin"
    planned, recorded = analysis_plan.read(path), found.experiment.get("plan") or {}
    if "file_sha256" in recorded:
        if recorded["file_sha256"] != planned.digest:
            raise ValueError(f"{path} is not the plan that was recorded before the runs ({recorded['file']})")
        return planned, BEFORE
    analysis_plan.recorded(recorded.get("fields") or _asked(found), planned, path.name)
    return planned, AFTER


def _asked(found: Results) -> dict[str, Any]:
    """What experiment.json asked for, in results of an older version, which recorded no plan."""
    record = found.experiment
    fields = {name: record.get(name) for name in ("question", "baseline", "metric", "split", "margin")}
    arms = list(dict.fromkeys(found.rows["activation"]))
    return {**fields, "step": record.get("steps"), "n": len(record.get("seeds", [])), "arms": arms}


def _of_arm(arm: Arm, asked: Question) -> Subject:
    differences = asked.sign * np.array(arm.differences)
    errors = (arm.se_choice, arm.se_seeds_and_text, arm.df_seeds_and_text, asked.over)
    return Subject(Pairs(arm.seeds, differences, arm.looks, *errors), arm.stability.verdict == "less stable")


def _between(first: Results, second: Results, asked: Question, step: int | None) -> dict[str, Subject]:
    """The arms of the second results, each with the same arm and seeds of the first."""
    if asked.over != "seeds":
        raise ValueError(f"over is '{asked.over}', but two folders can only be held against each other over seeds")
    ends = []
    for found in (first, second):
        question(found, asked.baseline, asked.metric, asked.split)  # raises where it was not measured
        axes = outcomes.axis_columns(found.rows)
        measured = found.rows[(found.rows["metric"] == asked.metric) & (found.rows["split"] == asked.split)]
        at = last_common_step(measured, axes) if step is None else step
        runs = outcomes.ends(found.rows, asked.metric, asked.split, at, axes)
        keys = [outcomes.label(arm) for arm in runs[["activation", *axes]].to_dict("records")]
        ends.append((at, runs.assign(key=keys).set_index(["key", "seed"])["value"]))
    (step_of_first, before), (step_of_second, after) = ends
    if step_of_first != step_of_second:
        raise ValueError(f"the results end at steps {step_of_first} and {step_of_second}: give the plan a step of both")
    paired = (asked.sign * (after - before)).loc[after.index.intersection(before.index)]
    if paired.empty:
        raise ValueError("the two folders have no arm with a seed in common")
    subjects = {}
    for key, values in paired.groupby(level="key", sort=False):
        seeds = tuple(map(int, values.index.get_level_values("seed")))
        trained = int(values.notna().sum())
        diverged = after.loc[values.index].isna().sum() > before.loc[values.index].isna().sum()
        subjects[str(key)] = Subject(Pairs(seeds, values.to_numpy(), (trained,)), bool(diverged))
    return subjects


def _subject(rule: Rule, subjects: Mapping[str, Subject], found: Results, asked: Question) -> Subject | None:
    """The arm of a rule; None where it was asked for and is absent. Raises ValueError where it was not."""
    if rule.arm in subjects:
        return subjects[rule.arm]
    known = [one.label for one in asked_for(found, asked.baseline).values() if not one.is_baseline]
    if rule.arm in known:
        return None
    allowed = list(dict.fromkeys([*subjects, *known]))
    raise ValueError(f"a rule is on '{rule.arm}', but arms are {', '.join(allowed)}{nearest(rule.arm, allowed)}")


def _outcome(rule: Rule, subject: Subject | None, asked: Question) -> Outcome:
    by = rule.by
    if by is None and rule.verdict in ("equivalent", "not worse"):
        by = asked.margin
        if by is None:
            raise ValueError(
                f"a rule says {rule.verdict}, but neither `by` nor the experiment's margin says by how much"
            )
    by = by or 0.0
    if subject is None:
        return Outcome(rule, "inconclusive", "the arm is absent", 0, None, None)
    n = len(subject.pairs.trained)
    difference = asked.sign * float(subject.pairs.trained.mean()) if n else None
    if subject.less_stable and rule.verdict != "worse":
        return Outcome(rule, "fail", "it diverges more often than its baseline", n, difference, None)
    if n < rule.pairs:
        return Outcome(rule, "inconclusive", f"{n} pairs trained, but {rule.pairs} are required", n, difference, None)
    # Each claim is that the difference in loss lies below an edge, or above it.
    edges = {"better": [(-by, -1)], "worse": [(by, 1)], "not worse": [(by, -1)], "equivalent": [(by, -1), (-by, 1)]}
    tails = 1 if rule.verdict in ("not worse", "equivalent") else 2
    claims = [_claim(subject.pairs, edge, side, asked, tails) for edge, side in edges[rule.verdict]]
    p, refuted = max(holds for holds, _ in claims), min(against for _, against in claims)
    if p < rule.p:
        return Outcome(rule, "pass", f"p {p:.2g} is below {rule.p:g}", n, difference, p)
    if refuted < rule.p:
        return Outcome(rule, "fail", f"the opposite holds, with p {refuted:.2g}", n, difference, p)
    return Outcome(
        rule, "inconclusive", f"p {p:.2g} is not below {rule.p:g}, nor that of the opposite", n, difference, p
    )


def _claim(pairs: Pairs, edge: float, side: int, asked: Question, tails: int) -> tuple[float, float]:
    """The p of the claim that the mean lies on this side of the edge, and of the opposite; nan, where there is no test,
    counts as 1."""
    shifted = replace(pairs, differences=pairs.differences - edge)
    found = evidence(shifted, replace(asked, margin=None), asked.level)
    p = float(np.nan_to_num(found.p[-1], nan=1.0)) * tails / 2
    return (p, 1.0) if found.mean * side > 0 else (1.0, p)
