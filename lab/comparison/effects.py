"""Main effects of an axis, and its interactions with the activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lab.comparison.looks import ordered
from lab.comparison.outcomes import label, plain
from lab.comparison.question import Question
from lab.comparison.verdict import Pairs, findings
from lab.files.choices import check_choice
from lab.results.looks import Look


@dataclass(frozen=True)
class Effect:
    """The effect of changing an axis from `reference` to `value`, all else equal, paired by seed.

    A main effect (`activation` None) is the mean over all activations; an interaction is the effect on one activation
    minus that on the baseline. `setting` contains the other axes. Verdicts are "better" and "worse", as for arms; for
    an interaction they say whether the change helps the activation more or less than the baseline.
    """

    axis: str
    value: Any
    reference: Any
    activation: str | None
    setting: dict[str, Any]
    n: int
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    verdict: str

    @property
    def label(self) -> str:
        """The effect in words."""
        setting = label({"activation": "", **self.setting}).strip()
        words = f"{self.axis}: {self.reference} → {self.value}{f' {setting}' if setting else ''}"
        return words if self.activation is None else f"{words}, more for {self.activation}"


def effects(
    runs: pd.DataFrame, axis: str, axes: list[str], question: Question, earlier: Sequence[Look] = ()
) -> tuple[Effect, ...]:
    """Main effects and interactions of an axis, as one family: each value against the first.

    `runs` is the table of `lab.comparison.outcomes.ends`; `axis` is the name of a column, or a dotted path that ends in
    one. Of `earlier` looks those count at which an effect had fewer seeds than now. Raises ValueError for an axis that
    the results lack or that has a single value.
    """
    axis = axis.rpartition(".")[2]
    check_choice("axis", axis, axes)
    values = list(dict.fromkeys(map(plain, runs[axis])))
    if len(values) < 2:
        raise ValueError(f"axis is '{axis}', but all runs have the value {values[0]}: there is nothing to compare")
    others = [name for name in axes if name != axis]
    found, pairs = [], []
    for setting, frame in runs.groupby(others, dropna=False, sort=False) if others else [((), runs)]:
        about = dict(zip(others, map(plain, setting), strict=True))
        by_value = {
            plain(value): one.pivot_table(index="seed", columns="activation", values="value", dropna=False)
            for value, one in frame.groupby(axis, dropna=False, sort=False)
        }
        for value in values[1:]:
            if value in by_value and values[0] in by_value:
                change = by_value[value] - by_value[values[0]]  # [seed, activation]; nan where a run is missing
                for activation, differences in _contrasts(change, question.baseline):
                    names = [name for name in change.columns if activation is None or name == activation]
                    keys = [label({"activation": name, **_at(axes, about, axis, at)}) for name in names
                            if name != question.baseline for at in (values[0], value)]  # fmt: skip
                    found.append((value, activation, about))
                    pairs.append(_pairs(earlier, keys, differences))
    told = findings(pairs, question, len(pairs))
    return tuple(
        Effect(axis, value, values[0], activation, about, len(pair.trained), one.evidence.mean, one.low, one.high,
               one.evidence.single_p, one.p_adjusted, one.verdict)
        for (value, activation, about), pair, one in zip(found, pairs, told, strict=True)
    )  # fmt: skip


def _at(axes: Sequence[str], about: Mapping[str, Any], axis: str, value: Any) -> dict[str, Any]:
    """The value of every axis, in the order in which labels have them."""
    known = {**about, axis: value}
    return {name: known[name] for name in axes}


def _pairs(earlier: Sequence[Look], keys: Sequence[str], differences: pd.Series) -> Pairs:
    """The differences of an effect in the order in which their seeds were seen: in all of its arms."""
    diverged = set(differences.index[differences.isna()])
    seeds = list(map(int, differences.index))
    order, counts = ordered(earlier, keys, seeds, diverged)
    return Pairs(tuple(order), differences.loc[order].to_numpy(), counts)


def _contrasts(change: pd.DataFrame, baseline: str) -> Iterator[tuple[str | None, pd.Series]]:
    """The mean of a change's effects [seed, activation], and each activation's effect minus the baseline's.

    A seed with a missing or diverged run is excluded from the mean, which would cover fewer activations.
    """
    yield None, change.mean(axis=1, skipna=False)
    for activation in change.columns.drop(baseline, errors="ignore"):
        if baseline in change:
            yield str(activation), change[activation] - change[baseline]
