"""Whether a metric is minimized or maximized: declared by its task or by the user, never guessed from its name."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from lab.files.choices import check_choice

Direction = Literal["min", "max"]

OURS: dict[str, Direction] = {
    "loss": "min", "bits_per_byte": "min", "perplexity": "min", "mean_squared_error": "min",
    "token_error": "min", "frame_error": "min", "accuracy": "max", "largest_loss": "min",
}  # fmt: skip
"""Directions of the metrics of this repository's tasks, for results that recorded none and for rows alone."""


def split_metric(asked: str) -> tuple[str, Direction | None]:
    """Name and direction of a requested metric: "auc:max", or "auc" alone.

    Raises ValueError for a direction other than min and max.
    """
    name, colon, direction = asked.partition(":")
    if colon:
        check_choice(f"the direction of metric {name}", direction, get_args(Direction))
    return name, direction or None  # type: ignore[return-value]


def declared(task: Any) -> dict[str, Direction]:
    """The directions that a task declares; the loss is minimized in every task.

    Raises ValueError for a direction other than min and max, and for a loss that is to be maximized.
    """
    found = dict(getattr(task, "directions", {}))
    for name, direction in found.items():
        check_choice(f"directions['{name}'] of {type(task).__name__}", direction, get_args(Direction))
    return {"loss": "min", **checked("loss", "min", found)}


def direction_of(metric: str, record: Mapping[str, Any]) -> Direction | None:
    """The direction of a metric according to experiment.json; None if not declared."""
    return record.get("directions", {}).get(metric, OURS.get(metric))


def checked(metric: str, direction: Direction | None, known: Mapping[str, Direction]) -> dict[str, Direction]:
    """The known directions together with the requested one. Raises ValueError if they contradict each other."""
    if direction is None:
        return dict(known)
    if known.get(metric, direction) != direction:
        raise ValueError(f"metric is '{metric}:{direction}', but its task declares {metric} as {known[metric]}")
    return {**known, metric: direction}
