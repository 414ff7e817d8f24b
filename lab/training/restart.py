"""A warm restart: training begins again from trained parameters, with the optimizer's state kept or reset."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from lab.training.step import State


def restarted(drawn: State, trained: State, keep: bool, done: int = 0) -> State:
    """The state with which training begins again: parameters and other collections are the trained ones.

    `drawn` is a state at step 0, from which a reset optimizer has its state; with `keep` moments and the count that
    corrects their bias go on. The schedule begins anew: with `done` = 0 at its warmup, with the number of steps of the
    warmup at its peak. Both states have the same shapes and the same optimizer. Raises ValueError for an optimizer
    whose state has no schedule, so that nothing would begin anew.
    """
    if not any(map(_is_schedule, jax.tree.leaves(trained.optimizer_state, is_leaf=_is_schedule))):
        raise ValueError("the optimizer's state has no schedule (a count of steps alone): it cannot be restarted")
    source = trained if keep else drawn

    def scheduled(part: Any) -> Any:
        return part._replace(count=np.full_like(part.count, done)) if _is_schedule(part) else part

    optimizer_state = jax.tree.map(scheduled, source.optimizer_state, is_leaf=_is_schedule)
    return replace(trained, optimizer_state=optimizer_state)


def _is_schedule(part: Any) -> bool:
    """Whether it is the state of a schedule in optax, which is a count of steps alone."""
    return getattr(part, "_fields", None) == ("count",)
