"""The question of a comparison: the experiment's own, or another asked of the same results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from lab.comparison import family
from lab.files.choices import check_choice, nearest
from lab.results import analysis_plan
from lab.results.directions import Direction, checked, direction_of, split_metric
from lab.statistics.looks import spent

if TYPE_CHECKING:
    from lab.results.results import Results

Hold = Literal["each", "all", "selected"]
"""Whether intervals hold for each arm separately, for all simultaneously, or for the better, worse or equivalent."""

Over = Literal["seeds", "seeds_and_text"]
"""What a claim is about: other seeds on this text, or other seeds on other texts like it."""


@dataclass(frozen=True)
class Question:
    """The metric, split and baseline of a comparison, and its decision rule."""

    baseline: str
    metric: str
    direction: Direction | None
    split: str
    level: float = 0.95
    margin: float | None = None
    hold: Hold = "each"
    over: Over = "seeds"
    planned_looks: tuple[int, int] | None = None
    """The first and last number of seeds at which arms are compared, if the number of seeds is chosen sequentially."""
    fixed_seeds: bool = False
    """Whether a plan file or a study fixed the number of seeds. Otherwise the first look spends only a part of alpha,
    since seeds may be added after it."""

    @property
    def alpha(self) -> float:
        """What the look at the planned number of pairs may spend."""
        planned = self.fixed_seeds or self.planned_looks is not None
        return (1 - self.level) * (1 if planned else spent(1))

    @property
    def sign(self) -> float:
        """Converts a value into a loss, of which less is better."""
        return -1.0 if self.direction == "max" else 1.0


def question(
    results: Results,
    baseline: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    level: float | None = None,
    over: str | None = None,
) -> Question:
    """The question of a comparison: the given fields, with the experiment's own as defaults.

    `metric` may include the direction, "auc:max". Raises ValueError, in one sentence, for anything that the rows do not
    contain, for a direction that contradicts the task's, and for an `over` that is not one of `Over`.
    """
    record, rows = results.experiment, results.rows
    own = record.get("metric", "loss")
    name, direction = split_metric(own if metric is None else metric)
    name = _known("metric", name, rows["metric"])
    known = direction_of(name, record)
    checked(name, direction, {} if known is None else {name: known})
    split = _known("split", split or record.get("split", "validation"), rows.loc[rows["metric"] == name, "split"])
    looks = record.get("looks") or None
    over = record.get("over", "seeds") if over is None else over
    check_choice("over", over, get_args(Over))
    return Question(
        baseline=_baseline(results, baseline or record.get("baseline")),
        metric=name,
        direction=direction or known,
        split=split,
        level=record.get("level", 0.95) if level is None else level,
        margin=record.get("margin") if name == own else None,  # in the unit of that metric
        hold=record.get("intervals", "each"),
        over=over,  # type: ignore[arg-type]
        planned_looks=(looks[0], looks[1]) if looks else None,
        fixed_seeds=analysis_plan.fixes_seeds(record),
    )


def last_common_step(measured: pd.DataFrame, axes: list[str]) -> int:
    """The last step that all arms have reached. Raises ValueError if there is none."""
    steps = [set(frame["step"]) for _, frame in measured.groupby(["activation", *axes], dropna=False)]
    common = set.intersection(*steps)
    if not common:
        raise ValueError("step is required: the arms have no step in common")
    return int(max(common))


def recorded_step(step: int, measured: pd.DataFrame) -> int:
    """The step itself. Raises ValueError, naming the nearest, if nothing was measured there."""
    recorded = np.sort(measured["step"].unique())
    if step not in recorded:
        near = recorded[np.abs(recorded - step).argmin()]
        raise ValueError(f"step is {step}, but the nearest one recorded is {near}")
    return int(step)


def _baseline(results: Results, name: str | None) -> str:
    here = results.rows["activation"]
    if name and name not in here.unique() and any(one.is_baseline for one in family.asked_for(results, name).values()):
        raise ValueError(f"baseline is {name!r}, but none of its runs is there: train them, or choose another baseline")
    return _known("baseline", name, here)


def _known(field: str, value: str | None, column: pd.Series) -> str:
    allowed = sorted(column.unique())
    if value not in allowed:
        has = ", ".join(allowed) or "none"
        raise ValueError(f"{field} is {value!r}, but the rows have {has}{nearest(value, allowed)}")
    return str(value)
