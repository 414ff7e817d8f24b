"""The analysis plan, recorded and hashed before training, and the changes since."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lab.files.choices import check_choice, nearest

VERDICTS = ("better", "worse", "equivalent", "not worse")


@dataclass(frozen=True)
class Rule:
    """A condition on an arm for a gate to pass: "better by at least 0.005 at p < 0.01 with at least 8 pairs"."""

    arm: str
    """Label of the arm, as in tables: `swiglu`, or `swiglu (norm=rmsnorm)`."""
    verdict: str
    """better, worse, equivalent (within `by`) or not worse (by `by` or more)."""
    by: float | None = None
    """In the unit of the metric; default: 0, and the plan's margin for equivalent and not worse."""
    p: float = 0.05
    """Significance level of the rule."""
    pairs: int = 2
    """Minimum number of pairs in which both runs trained."""

    def check(self) -> None:
        """Raises ValueError if a field is not allowed."""
        check_choice("verdict of a rule", self.verdict, VERDICTS)
        if not (isinstance(self.p, float) and 0 < self.p < 1):
            raise ValueError(f"p of a rule is {self.p!r}: it must lie between 0 and 1, such as 0.01")
        if not (isinstance(self.pairs, int) and self.pairs >= 2):
            raise ValueError(f"pairs of a rule is {self.pairs!r}: it must be a whole number of at least 2")
        if self.by is not None and not (isinstance(self.by, int | float) and self.by >= 0):
            raise ValueError(f"by of a rule is {self.by!r}: it must be a number of at least 0")


@dataclass(frozen=True)
class AnalysisPlan:
    """The contents of a plan file. Omitted fields default to the experiment's."""

    question: str | None = None
    baseline: str | None = None
    arms: tuple[str, ...] | None = None
    """Names of the activations."""
    metric: str | None = None
    split: str | None = None
    step: int | None = None
    margin: float | None = None
    n: int | None = None
    """Number of seeds."""
    rules: tuple[Rule, ...] = ()
    """All rules must hold, so their number needs no correction."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the plan's content, independent of the formatting of its file."""
        return digest(vars(self))


def read(path: Path) -> AnalysisPlan:
    """Read a plan, a JSON or TOML file whose fields are those of `AnalysisPlan`.

    Raises ValueError, naming file and field, if it is invalid, FileNotFoundError if it is missing.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        plan = _made(AnalysisPlan, value)
        rules = tuple(_made(Rule, one) for one in plan.rules or ())
        for rule in rules:
            rule.check()
    except (ValueError, TypeError, RecursionError) as error:  # JSON and TOML errors are ValueErrors
        raise ValueError(f"{path} is not a valid plan: {error}") from None
    arms = None if plan.arms is None else tuple(plan.arms)
    return AnalysisPlan(**{**vars(plan), "arms": arms, "rules": rules})


def digest(value: Any) -> str:
    """The SHA-256 of JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=vars).encode()).hexdigest()


def recorded(asked: Mapping[str, Any], plan: AnalysisPlan | None, file: str | None) -> dict[str, Any]:
    """The plan as recorded in experiment.json: `fields`, their `sha256`, and the `file` it was read from.

    `asked` is the experiment's question: the fields of a plan, and the level. Raises ValueError if the plan disagrees
    with the experiment.
    """
    told = {} if plan is None else {name: value for name, value in vars(plan).items() if value is not None}
    rules = [vars(rule) for rule in told.pop("rules", ())]
    for name, value in told.items():
        now = asked[name]
        if name == "question" or _agree(name, value, now):
            continue
        raise ValueError(f"the plan has {name} {_words(value)}, but the experiment has {_words(now)}: they must agree")
    content = {**asked, "steps": asked["step"], **told, "rules": rules}
    of_file = {} if plan is None else {"file": file, "file_sha256": plan.digest}
    return {**of_file, "sha256": digest(content), "fields": content}


def fixes_seeds(record: Mapping[str, Any]) -> bool:
    """Whether a plan file or a study fixed the number of seeds before the runs; rows without a record are complete."""
    return not record or (record.get("plan") or {}).get("file") is not None


def changed(record: Mapping[str, Any], question: Mapping[str, Any]) -> list[str]:
    """The fields of the recorded plan that have changed since, in words: `seeds 5 → 8`."""
    before = record["plan"]["fields"]
    now = {
        **{name: question[name] for name in ("baseline", "metric", "split", "level", "margin", "over")},
        "n": len(record["seeds"]),
        "arms": _arms(record),
        "steps": record["steps"],
    }
    return [
        f"{name} {_words(before[name])} → {_words(value)}"
        for name, value in now.items()
        if name in before and (sorted(before[name]) != sorted(value) if name == "arms" else before[name] != value)
    ]


def _agree(name: str, planned: Any, asked: Any) -> bool:
    """Whether the experiment agrees with the plan; arms are a set, and the step may be before the last."""
    if name == "arms":
        return set(planned) == set(asked)
    return planned <= asked if name == "step" else planned == asked


def _arms(record: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(arm["activation"] for arm in record.get("arms", {}).values()))


def _made(kind: Any, value: Any) -> Any:
    """A dataclass from JSON; raises ValueError for unknown fields."""
    if not isinstance(value, dict):
        raise ValueError(f"{kind.__name__} is {_words(value)}, but must be an object")
    known = [field.name for field in fields(kind)]
    for name in value:
        if name not in known:
            raise ValueError(f"unknown field '{name}': allowed fields are {', '.join(known)}{nearest(name, known)}")
    return kind(**value)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
