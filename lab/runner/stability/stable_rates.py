"""The largest stable learning rate of every arm and seed of an experiment, by bisection."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from lab.comparison.networks.instability import RUN, SHARE, events, looks, measured, stable_arms
from lab.comparison.reference_predictors import bits_per_loss
from lab.experiment.experiment import Cell, grid
from lab.runner import plan
from lab.runner.networks import inside
from lab.runner.session import Session
from lab.runner.stability.rounds import rounds_of
from lab.statistics.bisection import bisected
from lab.training.devices import distributed
from lab.training.runs import Reuse
from lab.training.settings import Run

FLOOR = "unigram"
"""The reference predictor that a run must beat to count as trained."""


@dataclass(frozen=True)
class Search:
    """Where the largest stable learning rate is searched."""

    low: float = 1e-3
    """Lowest rate that is tried."""
    high: float = 1.0
    """Highest rate that is tried."""
    rounds: int = 5
    """Times that the bracket is halved on a logarithmic scale: it is (high / low)^(1 / 2^rounds) wide afterwards."""

    def check(self) -> None:
        """Raises ValueError for rates that are not positive and finite, or in another order, and negative rounds."""
        if not 0 < self.low < self.high < np.inf:
            raise ValueError(f"low is {self.low} and high is {self.high}: rates must be positive and ascending")
        if self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}: it must be zero or positive")


@dataclass(frozen=True)
class StableRates:
    """What a search found; each table begins with activation and axes.

    `thresholds` has one row per arm and seed: seed, low, high, between which its largest stable rate lies; low is 0 if
    even the lowest rate was not stable, high is inf if the highest one was. `runs` has all that were trained (`events`
    of `lab.comparison.networks.instability`), `looks` what telemetry showed (`looks` there), and `programs` the rounds
    of every arm and the programs compiled for them.
    """

    thresholds: pd.DataFrame
    runs: pd.DataFrame
    looks: pd.DataFrame
    programs: pd.DataFrame

    def of_arms(self, share: float = SHARE) -> pd.DataFrame:
        """The stable rate of every arm: activation, axes, rate (`lab.comparison.networks.instability.stable_arms`)."""
        return stable_arms(self.thresholds, share)


def stable_rates(session: Session, search: Search) -> StableRates:
    """The largest stable learning rate of every arm and seed of the session's experiment.

    Every seed has its own bracket, which is halved round by round; a round trains the seeds of an arm, each at its own
    rate, as runs of one program, which is compiled once. The rates of the experiment itself are not used. A run is
    stable if no loss or gradient was infinite or nan, no training loss was a spike
    (`lab.statistics.curves.spikes.spikes`), and its final validation loss is below that of the reference predictor
    `unigram`, or for tasks without one below its loss at step 0. `StableRates.of_arms` gives the rate of an arm at
    which a share of its seeds is stable. Spikes and telemetry are looked for at every
    evaluation, so `settings.evaluate_every` limits how well events are dated.

    Rounds are kept in the session's folder as waves of each cell: killed, the same call goes on. Raises ValueError for
    an invalid search, for an axis of hyperparameters, whose values are no arms here, and what training raises.
    """
    search.check()
    if axis := next((path for path, _ in session.experiment.axes if path.startswith("hyperparameters.")), None):
        raise ValueError(f"axes has {axis}: every value of it needs a search of its own")
    experiment, directory = replace(session.experiment, telemetry=True), session.directory
    prepare = (experiment, directory, session.command, session.predictors)
    distributed.on_process_zero(lambda: plan.prepare(*prepare))
    found = [_of_cell(cell, session, search) for cell in grid(experiment)]
    return StableRates(*(pd.concat(tables, ignore_index=True) for tables in zip(*found, strict=True)))


def _of_cell(cell: Cell, session: Session, search: Search) -> tuple[pd.DataFrame, ...]:
    seeds = list(dict.fromkeys(run.seed for run in cell.runs))
    tables: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    with rounds_of(cell, session.directory, session.mode, Reuse(), PROBE) as rounds:

        def stable(logs: Float[np.ndarray, " seeds"]) -> Bool[np.ndarray, " seeds"]:
            rates = [float(f"{rate:.5g}") for rate in np.exp(logs)]  # the same on every machine
            own = cell.runs[0].hyperparameters
            runs = [Run(seed, replace(own, learning_rate=rate)) for seed, rate in zip(seeds, rates, strict=True)]
            rounds.train(runs)
            rows, telemetry = rounds.curves(runs), rounds.telemetry(runs)
            found = events(rows, telemetry, _ceiling(session, cell, rows))
            tables.append((found, looks(rows, telemetry)))
            return found.set_index("seed")["event"].reindex(seeds).eq("").to_numpy()

        brackets = bisected(stable, np.log(search.low), np.log(search.high), search.rounds, (len(seeds),))
        made = {"rounds": len(tables), "runs": len(tables) * len(seeds), "programs": rounds.compiled()}
    thresholds = pd.DataFrame({"seed": seeds, "low": np.exp(brackets.low), "high": np.exp(brackets.high)})
    runs, seen = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))
    about = {"activation": cell.activation.name, **dict(cell.axes)}
    return tuple(_about(table, about) for table in (thresholds, runs, seen, pd.DataFrame([made])))


def _about(table: pd.DataFrame, about: dict[str, Any]) -> pd.DataFrame:
    return table.assign(**about)[[*about, *table]]


def _ceiling(session: Session, cell: Cell, rows: pd.DataFrame) -> float | pd.Series:
    """The validation loss, in nats, that a run must end below: one for all, or for each its own at step 0."""
    floor = session.predictors.get(cell.task.name, {}).get(FLOOR)
    if floor is not None:
        return floor["value"] / bits_per_loss(rows, "validation")
    first = rows[(rows["step"] == 0) & (rows["split"] == "validation") & (rows["metric"] == "loss")]
    return first.set_index(RUN)["value"]


def _narrow(*arguments: Any) -> dict[Any, Any]:
    """Telemetry of what `looks` shows alone: the compiler leaves out the rest."""
    return {key: value for key, value in inside.PROBE.measure(*arguments).items() if measured(*key[1:])}


PROBE = replace(inside.PROBE, measure=_narrow)
