"""experiment.json as it is written: what is asked now together with what was asked before, and the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.experiment.experiment import Experiment, grid
from lab.experiment.serialization import canonical
from lab.results import analysis_plan
from lab.results.analysis_plan import AnalysisPlan
from lab.results.directions import checked, declared, split_metric


@dataclass(frozen=True)
class PlanFile:
    """A plan that somebody wrote, and the name of its file."""

    plan: AnalysisPlan
    name: str


def plan_file(path: Path) -> PlanFile:
    """Reads a plan file. Raises what `lab.results.analysis_plan.read` raises."""
    return PlanFile(analysis_plan.read(path), path.name)


def plan_of(study: str) -> PlanFile:
    """The plan of a study, whose code fixes what each experiment asks: it adds nothing to the experiment's own."""
    return PlanFile(AnalysisPlan(), f"study {study}")


def record(
    experiment: Experiment,
    known: Mapping[str, Any],
    command: str,
    predictors: Mapping[str, Any],
    looks: Sequence[int],
    looked: bool,
    file: PlanFile | None,
) -> dict[str, Any]:
    """The record of a results directory: `known` is what it says already, `looked` whether anybody has looked at a
    comparison.

    From then on baseline, metric and split stay, since they are what the report answers; to ask something else is
    another comparison. Raises ValueError for a plan that disagrees with the experiment, or comes after the first run.
    """
    metric, _ = split_metric(experiment.metric)
    question = {"baseline": experiment.reference, "metric": metric, "split": experiment.split}
    kept = {name: known[name] for name in question if looked and name in known}
    own = overrides(experiment)
    return {
        "name": experiment.name,
        "question": experiment.question,
        **question,
        **kept,
        "directions": {**known.get("directions", {}), **directions(experiment)},
        "level": experiment.level,
        "steps": experiment.settings.steps,
        "axes": _union(known.get("axes", []), experiment.axis_names),
        "seeds": _union(known.get("seeds", []), experiment.seeds),
        "cells": {**known.get("cells", {}), **{cell.name: len(cell.runs) for cell in grid(experiment)}},
        "arms": {**known.get("arms", {}), **_arms(experiment, known.get("arms", {}))},
        "overrides": _union(known.get("overrides", []), own),
        "margin": experiment.margin,
        "intervals": experiment.intervals,
        "over": experiment.over,
        "target": experiment.target,
        "looks": list(looks) or known.get("looks", []),
        "published": dict(experiment.published),
        "reference_predictors": {**known.get("reference_predictors", {}), **predictors},
        "plan": _plan(experiment, known, question, file),
        "command": command,
        "created": known.get("created", _now()),
        "definition": experiment.definition,
    }


def directions(experiment: Experiment) -> dict[str, Any]:
    """The direction of every metric that the tasks, or the experiment's own metric, declare. Raises ValueError where
    two contradict."""
    found: dict[str, Any] = {}
    for task in {cell.task for cell in grid(experiment)}:
        for name, direction in declared(task).items():
            found = checked(name, direction, found)
    return checked(*split_metric(experiment.metric), found)


def overrides(experiment: Experiment) -> list[dict[str, Any]]:
    """What is set for single arms, as JSON."""
    return [{"arm": as_json(one.arm), "fields": as_json(one.fields)} for one in experiment.overrides]


def as_json(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs of name and value as JSON."""
    return {name: canonical(value) for name, value in items}


def _arms(experiment: Experiment, known: Mapping[str, Any]) -> dict[str, Any]:
    """Of every cell the arm that it holds, its seeds, and at how many points of the traced axes each is trained."""
    found = {}
    for cell in grid(experiment):
        seeds = list(dict.fromkeys(run.seed for run in cell.runs))
        found[cell.name] = {
            "activation": cell.activation.name,
            "axes": as_json(cell.axes),
            "seeds": _union(known.get(cell.name, {}).get("seeds", []), seeds),
            "points": len(cell.runs) // len(seeds),
        }
    return found


def _plan(
    experiment: Experiment, known: Mapping[str, Any], question: Mapping[str, Any], file: PlanFile | None
) -> dict[str, Any] | None:
    """The plan that was written before the first run; None in results that an older version began."""
    if not known:
        asked = {
            "question": experiment.question,
            "arms": list(dict.fromkeys(cell.activation.name for cell in grid(experiment))),
            **question,
            "step": experiment.settings.steps,
            "margin": experiment.margin,
            "level": experiment.level,
            "over": experiment.over,
            "n": len(experiment.seeds),
        }
        plan = analysis_plan.recorded(asked, file.plan if file else None, file.name if file else None)
        return {"written": _now(), **plan}
    before = known.get("plan")
    if file is None or file.plan == AnalysisPlan():
        return before
    if before is None or before.get("file_sha256") != file.plan.digest:
        raise ValueError(f"{file.name} is not the plan that these results were begun with: choose another --out")
    return before


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _union(old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    return [*old, *(value for value in new if value not in old)]
