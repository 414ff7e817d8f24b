"""Warm restarts: the learning rate returns to its peak, with or without a warmup and the optimizer's state."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from lab.experiment.experiment import Cell, grid
from lab.runner import dispatch, plan
from lab.runner.session import Session
from lab.runner.stability.rounds import rounds_of
from lab.training.restart import restarted
from lab.training.runs import Reuse
from lab.training.settings import Run
from lab.training.step import State
from lab.training.trained import states

LATER = 2**31
"""Added to the seed of a run that is restarted: it reads other batches, in another order."""


@dataclass(frozen=True)
class Restart:
    """How networks are trained on."""

    steps: int
    """Steps after the restart, over which the schedule runs once more."""
    evaluate_every: int
    """Steps between evaluations."""

    def check(self) -> None:
        """Raises ValueError for numbers of steps below 1."""
        for name in ("steps", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")


def restarts(session: Session, asked: Restart) -> pd.DataFrame:
    """The validation loss after warm restarts of all trained networks of the session's experiment.

    Rows of activation, axes, seed, optimizer (kept or reset: moments and their count), warmup (yes or no: the rate
    rises again, or is at its peak from the first step), step since the restart, loss. The four variants of a cell are
    trained by one program, since they differ in the initial state alone. They are kept in restarts/ of the session's
    folder; killed, the same call goes on. Raises ValueError for an experiment that is not trained yet, or that has
    several runs of a seed, such as at several learning rates, and what training raises.
    """
    asked.check()
    cells = grid(session.experiment)
    if several := [cell.name for cell in cells if len({run.seed for run in cell.runs}) < len(cell.runs)]:
        raise ValueError(f"{several[0]} has several runs of a seed: restart networks of one learning rate at a time")
    return pd.concat([_of_cell(cell, session, asked) for cell in cells], ignore_index=True)


def _of_cell(cell: Cell, session: Session, asked: Restart) -> pd.DataFrame:
    data, folder = dispatch.load(cell.task), plan.cell_directory(session.directory, cell).path
    trained = {run.seed: state for run, state in states(cell.model, cell.task, cell.settings, cell.runs, folder, data)}
    again = replace(
        cell.settings,
        steps=asked.steps,
        evaluate_every=asked.evaluate_every,
        warmup_steps=None,
        decay_steps=None,
        final_evaluation=0.0,
        checkpoint_every=asked.steps,
        order_seed=None if cell.settings.order_seed is None else (cell.settings.order_seed + LATER) % 2**32,
    )
    later = replace(cell, settings=again, runs=tuple(replace(run, seed=run.seed + LATER) for run in cell.runs))
    programs, found = Reuse(), []
    for optimizer in ("kept", "reset"):
        for warmup in ("yes", "no"):
            where = session.directory / "restarts" / f"{optimizer}-{'warmup' if warmup == 'yes' else 'peak'}"
            done = 0 if warmup == "yes" else again.warmup
            with rounds_of(later, where, session.mode, programs) as rounds:
                rounds.train(later.runs, _Begin(trained, optimizer == "kept", done))
                losses = _losses(rounds.curves(later.runs))
            about = {"activation": cell.activation.name, **dict(cell.axes)}
            found.append(losses.assign(**about, optimizer=optimizer, warmup=warmup)[[*about, "seed", *COLUMNS]])
    return pd.concat(found, ignore_index=True)


COLUMNS = ["optimizer", "warmup", "step", "loss"]


@dataclass(frozen=True)
class _Begin:
    """The state with which a run begins again."""

    trained: Mapping[int, State]
    keep: bool
    done: int

    def __call__(self, run: Run, drawn: State) -> State:
        return restarted(drawn, self.trained[run.seed - LATER], self.keep, self.done)


def _losses(curves: pd.DataFrame) -> pd.DataFrame:
    rows = curves[(curves["split"] == "validation") & (curves["metric"] == "loss")]
    return rows.assign(seed=rows["seed"] - LATER, loss=rows["value"])[["seed", "step", "loss"]]
