"""Claims and what was found of them: the table of all, and the parts of each with their figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.comparison.networks.claim import DEPENDS, FAILS, HOLDS, OPEN, Claim, Reading, verdict
from lab.report.figures import BLUE, GREY, INK, ORANGE, STYLE
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section

HUES = {HOLDS: BLUE, FAILS: ORANGE, OPEN: GREY}
SAID = {"more": "more than 0", "not more": "not more than 0", "same": "0"}
REACH = 5.0
"""Margins that the axis of the summary shows on either side; intervals that go on are cut there."""
RULE = (
    "The claim says that a number is more than 0, not more, or 0. More: holds if the whole interval is above 0 and "
    "does not end below the margin, does not hold if it ends below the margin. Not more: the opposite. 0: holds if the "
    "interval lies within the margin on both sides, does not hold if it lies outside. All else is inconclusive"
)
LEVEL = "95 % intervals, which hold together for the parts of a claim (Bonferroni), not for all claims"


@dataclass(frozen=True)
class Told:
    """A claim with its parts and its verdict."""

    claim: Claim
    readings: Sequence[Reading]
    verdict: Verdict


def told(claim: Claim, readings: Sequence[Reading]) -> Told:
    """The claim with its verdict, and as the reason the first part of each outcome in numbers."""
    first = {one.outcome: one for one in reversed(readings)}
    words = [f"{one.outcome}: {one.part.condition}, {number(one)}" for one in readings if first[one.outcome] is one]
    said = Verdict(f"{claim.name}: {claim.statement}", outcome_of(claim, readings), f"{'; '.join(words)}.")
    return Told(claim, readings, said)


def outcome_of(claim: Claim, readings: Sequence[Reading]) -> str:
    """The verdict in words: with what it depends on, or with the number of parts that are decided if it is open."""
    found = verdict({one.part.condition: one.outcome for one in readings}, claim.every)
    if found == DEPENDS:
        return f"{found} {claim.varies}"
    outcomes = [one.outcome for one in readings]
    decided = [f"{outcome} in {outcomes.count(outcome)}" for outcome in (HOLDS, FAILS) if outcome in outcomes]
    return f"{found} ({', '.join(decided)} of {len(outcomes)} parts)" if found == OPEN and decided else found


def number(reading: Reading) -> str:
    """The value with its interval, unit and number of values: `+0.013 nats (+0.003 to +0.023, n = 8)`."""
    unit = reading.part.unit
    value, low, high = (_plain(one, unit) for one in (reading.value, reading.low, reading.high))
    named = f"{value}{'' if unit == 'x' else f' {unit}'}"
    return f"{named} (exact)" if reading.n == 0 else f"{named} ({low} to {high}, n = {reading.n})"


def _plain(value: float, unit: str) -> str:
    """A number of this unit in words; a ratio is given by its logarithm."""
    if np.isnan(value):
        return "not finite"
    if unit == "x":
        return f"{np.exp(value):.3f}"
    return f"{value:+.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:+.1e}"


def summary(claims: Sequence[Told]) -> dict[str, Section]:
    """The table of all claims, a row each; and the figure of all parts."""
    rows = [
        {
            "claim": one.claim.statement,
            "verdict": one.verdict.outcome,
            "first_part": f"{one.readings[0].part.condition}: {number(one.readings[0])}",
            "verdict_on_it": one.readings[0].outcome,
            "n": one.readings[0].n,
            "control": one.claim.control,
        }
        for one in claims
    ]
    notes = (
        RULE,
        "A claim about several parts holds if all do, does not hold if none does, and depends on the part if some hold "
        "and others do not; one that there is a case holds if one part does. The table shows the first part of each",
        f"{LEVEL}; rates are untuned",
    )
    cut = (f"Every interval in units of its margin, cut at {REACH:g} margins",)
    return {
        "claims": Section("The claims", table=pd.DataFrame(rows), notes=notes),
        "all_parts": Section("All parts of the claims", forest(claims), notes=cut),
    }


def parts(claim: Claim, readings: Sequence[Reading]) -> Section:
    """The parts of a claim: what it says of each, the interval and the outcome, and the values."""
    rows = [
        {
            "part": one.part.condition,
            "claimed": SAID[one.part.says],
            "value": _shown(one.value, one.part.unit),
            "low": _shown(one.low, one.part.unit),
            "high": _shown(one.high, one.part.unit),
            "unit": {"x": "ratio"}.get(one.part.unit, one.part.unit),
            "margin": _shown(one.part.margin, one.part.unit),
            "n": one.n,
            "verdict": one.outcome,
        }
        for one in readings
    ]
    notes = [f"Made in {claim.made}. Control: {claim.control}", f"Measured: {claim.measured}"]
    if any(one.part.unit == "x" for one in readings):
        notes.append("Of ratios, 1 stands for 0 in the rule")
    return Section(claim.statement, values(readings), pd.DataFrame(rows), tuple(notes))


def _shown(value: float, unit: str) -> float:
    return float(np.exp(value)) if unit == "x" else value


def forest(claims: Sequence[Told]) -> Figure:
    """The interval of every part in units of its margin: blue where the claim holds, orange where it does not."""
    lines: list[tuple[str, Reading | None]] = []
    for one in claims:
        lines += [(one.claim.name, None), *((reading.part.condition, reading) for reading in one.readings)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 0.9 + 0.19 * len(lines)), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(-1, 1, color=GREY, alpha=0.12, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(lines)), [words for words, _ in lines], fontsize=7)
        for place, (label, (_, reading)) in enumerate(zip(axes.get_yticklabels(), lines, strict=True)):
            if reading is None:
                label.set_fontweight("bold")
            else:
                _interval(axes, reading, place)
        axes.set(
            xlim=(-REACH, REACH), ylim=(len(lines) - 0.4, -0.6), xlabel="interval / margin; grey: within the margin"
        )
        axes.grid(visible=False, axis="y")
        for outcome, hue in HUES.items():
            axes.plot([], [], "o-", color=hue, markersize=4, label=outcome)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _interval(axes: Axes, reading: Reading, place: float) -> None:
    ends = np.array([reading.low, reading.value, reading.high]) / reading.part.margin
    if np.isnan(ends).any():
        return
    low, middle, high = np.clip(ends, -REACH, REACH)
    hue = HUES[reading.outcome]
    axes.plot([low, high], [place, place], color=hue, linewidth=1.8, solid_capstyle="butt")
    marker = "o" if abs(ends[1]) <= REACH else ">" if ends[1] > 0 else "<"
    axes.plot(middle, place, marker, color=hue, markersize=4, clip_on=False)


def values(readings: Sequence[Reading]) -> Figure:
    """The values of every part, a dot a seed, with the interval; a panel a unit."""
    units = list(dict.fromkeys(one.part.unit for one in readings))
    groups = [[one for one in readings if one.part.unit == unit] for unit in units]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, sum(0.75 + 0.27 * len(group) for group in groups)), layout="constrained")
        panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(group) + 1.6 for group in groups])
        for axes, group, unit in zip(panels[:, 0], groups, units, strict=True):
            _values(axes, group, unit)
    return figure


def _values(axes: Axes, group: Sequence[Reading], unit: str) -> None:
    def scaled(value: Any) -> Any:
        return np.exp(value) if unit == "x" else value

    for place, one in enumerate(group):
        hue = HUES[one.outcome]
        heights = np.full(len(one.part.values), place)
        axes.plot(scaled(one.part.values), heights, "o", color=hue, markersize=3, alpha=0.4)
        if np.isfinite([one.low, one.high]).all():
            axes.plot(scaled(np.array([one.low, one.high])), [place, place], color=hue, linewidth=2)
        axes.plot(scaled(one.value), place, "D", color=hue, markersize=5)
        ends = [one.part.margin] if one.part.says != "same" else [-one.part.margin, one.part.margin]
        for end in ends:
            axes.plot([scaled(end)] * 2, [place - 0.35, place + 0.35], color=INK, linewidth=0.9, linestyle="dotted")
    axes.axvline(scaled(0.0), color=INK, linewidth=0.8)
    axes.set_yticks(range(len(group)), [one.part.condition for one in group], fontsize=7)
    axes.set(ylim=(len(group) - 0.4, -0.6), xlabel="ratio" if unit == "x" else unit)
    axes.grid(visible=False, axis="y")
