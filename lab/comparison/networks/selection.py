"""The choice of an arm: what each one costs by several measures, which are on the Pareto front, and which to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from lab.files.choices import check_choice
from lab.statistics.arms.pareto import front, probability_of_front
from lab.statistics.arms.ranking import rank_sets
from lab.statistics.paired import paired_t
from lab.statistics.resampling import percentile_interval, resampled


class Measure(NamedTuple):
    """A quantity that arms are chosen by."""

    unit: str
    over: Literal["seeds", "rounds", "nothing"]
    """What its uncertainty is over: networks of several seeds, rounds of timing, or none."""
    sign: int = 1
    """-1 if more is better."""


MEASURES = {
    "loss": Measure("", "seeds"),
    "int8_loss": Measure("nats", "seeds"),
    "latency_ms": Measure("ms", "rounds"),
    "latency_batch_ms": Measure("ms", "rounds"),
    "gradient_ms": Measure("ms", "rounds"),
    "gradient_batch_ms": Measure("ms", "rounds"),
    "memory_mb": Measure("MB", "nothing"),
    "parameters": Measure("", "nothing"),
    "stable_rate": Measure("", "nothing", -1),
}
"""loss: the experiment's metric. int8_loss: what quantization adds to the loss. latency: a forward pass of one example,
and of a batch; gradient: a forward and a backward pass of them. memory_mb: what the forward pass of the batch needs.
stable_rate: the largest learning rate tried at which every seed trained."""
OBJECTIVES = ("loss", "int8_loss", "latency_ms", "memory_mb")
LIMITS = ("int8_loss", "latency_ms", "latency_batch_ms", "memory_mb", "parameters", "stable_rate")
MEETS = ("yes", "uncertain", "no")


class Candidate(NamedTuple):
    """An arm: the fields that identify it, and by name of the measure its values over seeds or rounds, or the one. A
    measure that is not known is absent."""

    fields: dict[str, Any]
    values: Mapping[str, Float[np.ndarray, " values"]]

    @property
    def label(self) -> str:
        """The values of the fields that it has."""
        return ", ".join(str(value) for value in self.fields.values() if value is not None)


@dataclass(frozen=True)
class Selection:
    """What was found.

    `table` has one row per arm: its fields, every measure with the ends of its interval (`_low`, `_high`; that of the
    loss without what a seed does to all arms alike), the
    probability of being on the Pareto front of the `objectives`, the probability that it meets all `limits`, and
    whether it does. `chosen` is the label of the arm with the lowest mean loss among those that do, None if none does;
    `best` the probability that its loss is the lowest of theirs, `also` those that may be as good: the confidence set
    of the first rank.
    """

    table: pd.DataFrame
    objectives: tuple[str, ...]
    limits: Mapping[str, float]
    chosen: str | None
    best: float
    also: tuple[str, ...]
    level: float

    @property
    def sentence(self) -> str:
        """The recommendation with its evidence."""
        meeting = int((self.table["meets"] == "yes").sum())
        limits = ", ".join(f"{name} {_sign(name)} {value:g}" for name, value in self.limits.items())
        if self.chosen is None:
            best = "; ".join(f"{name} of {arm} is {value:.4g}" for name, arm, value in self._nearest())
            return f"no arm meets {limits} with a probability of {self.level:.0%}; by each limit the best is: {best}"
        row = self.table.set_index("arm").loc[self.chosen]
        among = f"of {meeting} arms (of {len(self.table)}) that meet {limits}" if limits else f"of {meeting} arms"
        text = f"take {self.chosen}: its loss of {row['loss']:.4f} is the lowest {among}"
        if meeting == 1:
            return text
        others = f"{', '.join(self.also)} cannot be ruled out" if self.also else "all others can be ruled out"
        return f"{text}; it is the lowest with a probability of {self.best:.0%}, and at {self.level:.0%} {others}"

    def _nearest(self) -> Iterator[tuple[str, str, float]]:
        """For each limit the arm that is farthest within it, or the least beyond."""
        for name in self.limits:
            best = (MEASURES[name].sign * self.table[name].to_numpy()).argmin()
            yield name, str(self.table["arm"].iloc[best]), float(self.table[name].iloc[best])


def select(
    candidates: Sequence[Candidate],
    limits: Mapping[str, float],
    objectives: Sequence[str] = (),
    level: float = 0.95,
) -> Selection:
    """Chooses among arms: the lowest loss of those that meet all limits with a probability of at least `level`.

    Probabilities are shares of joint bootstrap draws: of seeds, the same for all arms, whose deviations from the mean
    are widened by sqrt(n / (n - 1)), and of rounds of timing, the same for all programs. Measures without uncertainty
    count as known. Seeds without a loss in any arm are left out, since arms are compared in pairs. `objectives` default
    to those of `OBJECTIVES` that every arm has. Raises ValueError for a name that is not a measure, a limit or
    objective that an arm has no value for, fewer than 2 arms, or fewer than 2 seeds.
    """
    for name in objectives:
        check_choice("--objective", name, list(MEASURES))
    for name in limits:
        check_choice("limit", name, list(LIMITS))
    if len(candidates) < 2:
        raise ValueError(f"there is {len(candidates)} arm, but a choice needs at least 2")
    shared = [name for name in MEASURES if all(name in one.values for one in candidates)]
    for name in (*limits, *objectives):
        if name not in shared:
            lacking = next(one.label for one in candidates if name not in one.values)
            raise ValueError(f"{name} is asked for, but {lacking} has no value of it")
    chosen_by = tuple(objectives) or tuple(name for name in OBJECTIVES if name in shared)
    values = {name: np.stack([one.values[name] for one in candidates]) for name in shared}
    values = _of_trained(values)
    drawn = _draws(values)
    costs = np.stack([MEASURES[name].sign * drawn[name] for name in chosen_by], axis=-1)
    met = np.all([_within(name, drawn[name], bound) for name, bound in limits.items()] or [np.array(True)], axis=0)
    met = np.broadcast_to(met, costs.shape[:-1]).mean(axis=0)
    table = pd.DataFrame([{"arm": one.label, **one.fields} for one in candidates])
    for name in shared:
        table = table.assign(**_summary(name, values[name], drawn[name], level))
    middle = np.stack([MEASURES[name].sign * table[name].to_numpy() for name in chosen_by], axis=-1)
    table = table.assign(
        pareto=front(middle),
        pareto_probability=probability_of_front(costs),
        meets_probability=met,
        meets=[MEETS[0] if p >= level else MEETS[1] if p > 1 - level else MEETS[2] for p in met],
    )
    return Selection(table, chosen_by, dict(limits), *_chosen(table, values["loss"], drawn["loss"], level), level)


def _chosen(
    table: pd.DataFrame, losses: Float[np.ndarray, "arms n"], drawn: Float[np.ndarray, "draws arms"], level: float
) -> tuple[str | None, float, tuple[str, ...]]:
    meeting = np.flatnonzero(table["meets"] == MEETS[0])
    if not len(meeting):
        return None, 0.0, ()
    first = meeting[losses[meeting].mean(axis=1).argmin()]
    best = float((drawn[:, meeting].argmin(axis=1) == np.flatnonzero(meeting == first)[0]).mean())
    label = str(table["arm"].iloc[first])
    if len(meeting) == 1:
        return label, best, ()
    may_lead = meeting[rank_sets(losses[meeting], level).low == 1]
    return label, best, tuple(str(table["arm"].iloc[index]) for index in may_lead if index != first)


def _of_trained(values: dict[str, Float[np.ndarray, "arms values"]]) -> dict[str, Float[np.ndarray, "arms values"]]:
    """Without the seeds at which a network of any arm diverged, or has no loss after quantization."""
    by_seed = [values[name] for name in values if MEASURES[name].over == "seeds"]
    trained = np.all([np.isfinite(one).all(axis=0) for one in by_seed], axis=0)
    if trained.sum() < 2:
        raise ValueError(f"{trained.sum()} of the seeds trained in every arm: a choice needs at least 2")
    return {name: one[:, trained] if MEASURES[name].over == "seeds" else one for name, one in values.items()}


def _draws(values: Mapping[str, Float[np.ndarray, "arms values"]]) -> dict[str, Float[np.ndarray, "draws arms"]]:
    found = {}
    for name, one in values.items():
        over, n = MEASURES[name].over, one.shape[1]
        index = resampled(1 if over == "rounds" else 0, n)  # the same for all measures over seeds, and over rounds
        if over == "nothing":
            found[name] = np.broadcast_to(one[:, 0], (len(index), len(one)))
        elif over == "rounds":
            found[name] = np.stack([np.median(arm[index], axis=-1) for arm in one], axis=-1)
        else:
            means = np.stack([arm[index].mean(axis=-1) for arm in one], axis=-1)
            found[name] = one.mean(axis=1) + (means - one.mean(axis=1)) * np.sqrt(n / (n - 1))
    return found


def _within(name: str, drawn: Float[np.ndarray, "draws arms"], bound: float) -> np.ndarray:
    sign = MEASURES[name].sign
    return sign * drawn <= sign * bound


def _sign(name: str) -> str:
    return "≤" if MEASURES[name].sign > 0 else "≥"


def _summary(
    name: str, values: Float[np.ndarray, "arms values"], drawn: Float[np.ndarray, "draws arms"], level: float
) -> dict[str, Any]:
    """A measure and the ends of its interval: t over seeds, percentiles of the median over rounds.

    The interval of the loss leaves out what a seed does to all arms alike, which cancels in their differences, with the
    correction of Morey (2008), "Confidence intervals from normalized data".
    """
    over = MEASURES[name].over
    if over == "nothing":
        return {name: values[:, 0]}
    if over == "seeds":
        arms = len(values)
        own = values - values.mean(axis=0) if name == "loss" else values - values.mean(axis=1, keepdims=True)
        own = own - own.mean(axis=1, keepdims=True)
        scale = np.sqrt(arms / (arms - 1)) if name == "loss" else 1.0
        t = paired_t(values.mean(axis=1, keepdims=True) + scale * own, level)
        return {name: t.mean, f"{name}_low": t.low, f"{name}_high": t.high}
    low, high = percentile_interval(drawn.T, level)
    return {name: np.median(values, axis=1), f"{name}_low": low, f"{name}_high": high}
