"""Whether arms are compared at tuned rates, and how much uncertainty the choice of the rates adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lab.comparison import tuning
from lab.comparison.outcomes import axis_columns, ends, plain
from lab.comparison.question import Question
from lab.statistics.choice import tuned_difference

if TYPE_CHECKING:
    from lab.results.results import Results

LEFT_OUT = "intervals exclude the uncertainty of the chosen rates: "


@dataclass(frozen=True)
class Search:
    """Losses of the tuning runs of every arm [points, seeds], keyed by activation and the axes in `axes`."""

    axes: tuple[str, ...]
    losses: Mapping[tuple[Any, ...], Float[np.ndarray, "points seeds"]]
    caution: str | None = None
    """Why the uncertainty of the choice is unknown, if it is."""

    def of(self, activation: str, axes: Mapping[str, Any]) -> Float[np.ndarray, "points seeds"] | None:
        """The losses of an arm; None if it was not tuned, or had a single point to choose from."""
        found = self.losses.get((activation, *(axes.get(name) for name in self.axes)))
        return None if found is None or len(found) < 2 else found


def searched(results: Results, question: Question) -> Search | None:
    """The search that chose the rates of the arms; None if nothing was tuned or the tuning results are missing."""
    found = results.tuning
    overridden = {path for one in results.experiment.get("overrides", []) for path in one["fields"]}
    if found is None or "hyperparameters.learning_rate" not in overridden:
        return None
    rule = found.experiment
    axes = list(dict.fromkeys([*axis_columns(found.rows), "learning_rate"]))
    last = {cell["cell"]: cell["settings"]["steps"] for cell in found.cells}
    runs = ends(found.rows, rule["metric"], rule["split"], last, axes)
    points = [name for name in tuning.SEARCHED if name in axes]
    static = [name for name in axes if name not in points]
    losses = {}
    for _, arm in runs.groupby(["activation", *static], sort=False, dropna=False):
        first = arm.iloc[0]
        table = arm.pivot_table(index=points, columns="seed", values="value", dropna=False)
        key = (first["activation"], *(plain(first[name]) for name in static))
        losses[key] = question.sign * table.dropna(how="all").to_numpy()
    same = (rule["metric"], rule["split"]) == (question.metric, question.split)
    criterion = f"by {rule['split']} {rule['metric']}"
    return Search(tuple(static), losses, None if same else f"{LEFT_OUT}they were chosen {criterion}")


def uncertainty(
    search: Search | None, activation: str, baseline: str, axes: Mapping[str, Any], differences: Float[np.ndarray, " n"]
) -> tuple[bool, float, str | None]:
    """Whether arm and baseline are both tuned, the standard error that the choice of their rates adds to the
    difference, and, if it is unknown, the reason."""
    arm, reference = (search.of(name, axes) if search else None for name in (activation, baseline))
    if search is None or arm is None or reference is None:
        return False, 0.0, None
    if search.caution is not None or len(differences) < 2:
        return True, 0.0, search.caution
    if arm.shape != reference.shape:
        return True, 0.0, f"{LEFT_OUT}the arms' grids differ"
    try:
        return True, float(tuned_difference(differences, arm, reference).se_choice), None
    except ValueError as error:  # one tuning seed, or one rate at which every run trained
        return True, 0.0, f"{LEFT_OUT}{error}"
