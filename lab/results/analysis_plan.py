"""What was to be compared, written down and hashed before anything was trained; and what has changed since."""

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
    """What must hold of an arm for a gate to pass: "better by at least 0.005 at p < 0.01 with at least 8 pairs"."""

    arm: str
    """The arm as tables name it: `swiglu`, or `swiglu (norm=rmsnorm)`."""
    verdict: str
    """better, worse, equivalent (within `by`) or not worse (by as much as `by`)."""
    by: float | None = None
    """In the unit of the metric; 0 unless given, and the plan's margin for equivalent and not worse."""
    p: float = 0.05
    """The p value that must be reached."""
    pairs: int = 2
    """The number of pairs, in which both runs trained, that must be there."""

    def check(self) -> None:
        """Raises ValueError where a field is not allowed."""
        check_choice("verdict of a rule", self.verdict, VERDICTS)
        if not (isinstance(self.p, float) and 0 < self.p < 1):
            raise ValueError(f"p of a rule is {self.p!r}: it must lie between 0 and 1, such as 0.01")
        if not (isinstance(self.pairs, int) and self.pairs >= 2):
            raise ValueError(f"pairs of a rule is {self.pairs!r}: a test takes a whole number of at least 2")
        if self.by is not None and not (isinstance(self.by, int | float) and self.by >= 0):
            raise ValueError(f"by of a rule is {self.by!r}: it must be a number of at least 0")


@dataclass(frozen=True)
class AnalysisPlan:
    """A plan file. What it does not say is the experiment's own."""

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
    """All must hold, so that no correction for their number is needed."""

    @property
    def digest(self) -> str:
        """The SHA-256 of what the plan says, however its file is laid out."""
        return digest(vars(self))


def read(path: Path) -> AnalysisPlan:
    """Reads a plan, a JSON or TOML file whose fields are those of `AnalysisPlan`.

    Raises ValueError, naming file and field, for anything else, FileNotFoundError if it is missing.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        plan = _made(AnalysisPlan, value)
        rules = tuple(_made(Rule, one) for one in plan.rules or ())
        for rule in rules:
            rule.check()
    except (ValueError, TypeError, RecursionError) as error:  # those of JSON and TOML are ValueErrors too
        raise ValueError(f"{path} is no plan: {error}") from None
    arms = None if plan.arms is None else tuple(plan.arms)
    return AnalysisPlan(**{**vars(plan), "arms": arms, "rules": rules})


def digest(value: Any) -> str:
    """The SHA-256 of JSON, with keys in order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=vars).encode()).hexdigest()


def recorded(asked: Mapping[str, Any], plan: AnalysisPlan | None, file: str | None) -> dict[str, Any]:
    """The plan as experiment.json has it: `fields` with the `sha256` over them, and the `file` that it came from.

    `asked` is what the experiment asks: the fields of a plan and the level. Raises ValueError where the plan says
    something else than the experiment.
    """
    told = {} if plan is None else {name: value for name, value in vars(plan).items() if value is not None}
    rules = [vars(rule) for rule in told.pop("rules", ())]
    for name, value in told.items():
        now = asked[name]
        if name == "question" or _agree(name, value, now):
            continue
        raise ValueError(f"the plan has {name} {_words(value)}, but the experiment {_words(now)}: make them agree")
    content = {**asked, "steps": asked["step"], **told, "rules": rules}
    of_file = {} if plan is None else {"file": file, "file_sha256": plan.digest}
    return {**of_file, "sha256": digest(content), "fields": content}


def changed(record: Mapping[str, Any], question: Mapping[str, Any]) -> list[str]:
    """The fields of the recorded plan that are otherwise now, in words: `seeds 5 → 8`."""
    before = record["plan"]["fields"]
    now = {
        **{name: question[name] for name in ("baseline", "metric", "split", "level", "margin")},
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
    """Whether the experiment asks what was planned; arms are a set, and the step may be one before the last."""
    if name == "arms":
        return set(planned) == set(asked)
    return planned <= asked if name == "step" else planned == asked


def _arms(record: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(arm["activation"] for arm in record.get("arms", {}).values()))


def _made(kind: Any, value: Any) -> Any:
    """A dataclass from JSON, unknown fields refused."""
    if not isinstance(value, dict):
        raise ValueError(f"{kind.__name__} is {_words(value)}, but must be an object of fields")
    known = [field.name for field in fields(kind)]
    for name in value:
        if name not in known:
            raise ValueError(f"there is no field '{name}': there are {', '.join(known)}{nearest(name, known)}")
    return kind(**value)


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
