"""Published curves and ours: the figure, the values at the published epochs, and a verdict."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.report.figures import INK, STYLE, colour
from lab.statistics.paired import paired_difference

TOLERANCE = 0.10
"""Largest relative difference between our median and the published value that counts as reproduced; also the smallest
difference between two published values that counts as separated."""
END = 0.5
"""Epochs by which a curve is extended beyond its last point: training losses are placed at the middle of an epoch, and
digitised curves end slightly before the axes."""
COLUMNS = ["panel", "split", "epoch", "activation", "published", "ours", "low", "high", "n", "difference"]
Outcome = Literal["reproduced", "partly", "not reproduced", "no verdict"]


@dataclass(frozen=True)
class Panel:
    """One panel of a published figure, with the published curves and ours."""

    title: str
    published: pd.DataFrame
    """activation, split, epoch, value: the digitised curves; empty if our data only substitute for the published."""
    ours: pd.DataFrame
    """activation, seed, split, epoch, value."""
    at: tuple[float, ...]
    """Epochs at which values are compared, up to our last one."""
    above: float = math.inf
    """Upper limit of the published axes: a curve that begins later was above it until then."""
    unit: str = "loss"
    """The unit of the values."""

    @property
    def splits(self) -> list[str]:
        """The published splits, or else those measured every epoch."""
        return list(dict.fromkeys(self.published["split"])) or ["train", "validation"]

    @property
    def activations(self) -> list[str]:
        """Names, the published ones first."""
        return list(dict.fromkeys([*self.published["activation"], *self.ours["activation"]]))

    def curve(self, split: str, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The published curve of an activation on a split, and ours."""
        published, ours = (
            rows[(rows["split"] == split) & (rows["activation"] == name)].sort_values("epoch")
            for rows in (self.published, self.ours)
        )
        return published, ours


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim, and the reason in numbers."""

    claim: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Reproduction:
    """A reproduced figure: published and our curves in one figure, a table, and verdicts."""

    title: str
    figure: Figure
    table: pd.DataFrame
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """Choices that were made, and deviations from the paper."""


def value_at(curve: pd.DataFrame, epoch: float) -> float:
    """The linearly interpolated value of a curve at an epoch; nan outside, except within `END`."""
    points = curve.sort_values("epoch")
    if points.empty or epoch > points["epoch"].max() + END:
        return math.nan
    return float(np.interp(epoch, points["epoch"], points["value"], left=math.nan))


def compared(panel: Panel) -> pd.DataFrame:
    """One row per split, epoch and activation: panel, split, epoch, activation, published, ours, low, high, n,
    difference.

    `published` is inf where the curve was above the axes, nan if there is none. `ours` is the median of n runs, from
    `low` to `high`; `difference` is relative to the published value. Epochs that no run of ours has reached are
    omitted.
    """
    rows = []
    for split, name, epoch in itertools.product(panel.splits, panel.activations, panel.at):
        published, ours = panel.curve(split, name)
        values = [value for _, run in ours.groupby("seed") if np.isfinite(value := value_at(run, epoch))]
        if not values:
            continue
        above = len(published) and epoch < published["epoch"].min()
        theirs = math.inf if above else value_at(published, epoch)
        middle = float(np.median(values))
        about: dict[str, Any] = {"panel": panel.title, "split": split, "epoch": epoch, "activation": name}
        spread = {"low": min(values), "high": max(values), "n": len(values)}
        difference = middle / theirs - 1 if np.isfinite(theirs) else math.nan
        rows.append({**about, "published": theirs, "ours": middle, **spread, "difference": difference})
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict(table: pd.DataFrame, claim: str) -> Verdict:
    """The verdict on the table of a panel. The rule was fixed before any run:

    Two published curves are separated at an epoch if the higher exceeds the lower by the tolerance or more.
    *reproduced*: for the curves separated from another one, all our medians lie within the tolerance, and all separated
    pairs have the same order. *partly*: at least half of the pairs have. *not reproduced*: fewer have.
    *no verdict*: only one run, or no epoch at which the published curves are separated.
    """
    pairs = [pair for _, group in table.groupby(["panel", "split", "epoch"], sort=False) for pair in _separated(group)]
    if not pairs:
        return Verdict(claim, "no verdict", "no epoch was reached at which the published curves are separated")
    same = sum(bool(lower["ours"] < higher["ours"]) for lower, higher in pairs)
    rows = pd.DataFrame([row for pair in pairs for row in pair]).drop_duplicates(
        ["panel", "split", "epoch", "activation"]
    )
    known = rows[np.isfinite(rows["difference"])]  # at least the lower one of every pair
    near = int((known["difference"].abs() <= TOLERANCE).sum())
    far = known.loc[known["difference"].abs().idxmax()]
    reason = (
        f"{same} of {len(pairs)} separated pairs in the same order; {near} of {len(known)} medians within "
        f"{TOLERANCE:.0%}, the farthest {far['activation']}, {far['split']}, epoch {far['epoch']:g}: "
        f"{far['difference']:+.0%}"
    )
    if table["n"].min() < 2:
        return Verdict(claim, "no verdict", f"n = 1; {reason}")
    outcome: Outcome = "not reproduced"
    if same == len(pairs) and near == len(known):
        outcome = "reproduced"
    elif 2 * same >= len(pairs):
        outcome = "partly"
    return Verdict(claim, outcome, reason)


def _separated(group: pd.DataFrame) -> list[tuple[pd.Series, pd.Series]]:
    """Pairs of rows of one epoch whose published values are separated, the lower first."""
    rows = [row for _, row in group.sort_values("published").iterrows()]
    return [
        (lower, higher)
        for lower, higher in itertools.combinations(rows, 2)
        if np.isfinite(lower["published"]) and higher["published"] >= (1 + TOLERANCE) * lower["published"]
    ]


def lead(reading: str, panel: Panel, split: str, better: str, other: str, since: float, until: float) -> Verdict:
    """Whether one activation has the lower loss over a range of epochs, paired by seed; `reading` is the paper's claim.

    Compares the mean log loss over the range, so the difference is a ratio of losses; the verdict is that of a paired t
    interval of level 0.95. A range of one epoch compares that epoch alone.
    """
    first, last = (f"{epoch:g}" for epoch in (since, until))
    when = f"epoch {last}" if first == last else f"epochs {first} to {last}"
    claim = f"{reading}: {better} below {other}, {panel.title}, {split}, {when}"
    ours, theirs = (_mean_logarithm(panel.ours, name, split, since, until) for name in (better, other))
    pairs = (ours - theirs).dropna()
    if len(pairs) < 2:
        return Verdict(claim, "no verdict", f"{len(pairs)} paired runs reach it; an interval needs two")
    found = paired_difference(pairs.to_numpy(), np.zeros(len(pairs)))
    ratio, low, high = (math.exp(value) for value in (found.mean, found.low, found.high))
    outcome = "inconclusive" if low <= 1 <= high else "yes" if ratio < 1 else "no, higher"
    return Verdict(
        claim, outcome, f"ratio of losses {ratio:.3f} (95 % interval {low:.3f} to {high:.3f}, n = {found.n})"
    )


def _mean_logarithm(ours: pd.DataFrame, name: str, split: str, since: float, until: float) -> pd.Series:
    """By seed, the mean log loss over the range: of its points, or interpolated if it is one epoch."""
    runs = ours[(ours["activation"] == name) & (ours["split"] == split)]
    if since == until:
        return pd.Series({seed: math.log(value_at(run, until)) for seed, run in runs.groupby("seed")}, dtype=float)
    within = runs[(runs["epoch"] >= since) & (runs["epoch"] <= until)]
    return np.log(within["value"]).groupby(within["seed"]).mean()


def draw(panels: Sequence[Panel]) -> Figure:
    """One row per panel and one column per split: our median with a band over all runs, published curves dashed.

    Panels with one split are placed two per row, so the figure is never wider than the page.
    """
    splits = list(dict.fromkeys(split for panel in panels for split in panel.splits))
    shown = [(panel, split) for panel in panels for split in splits]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8 * columns, 2.9 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (panel, split) in zip(grid, shown, strict=False):
            _draw(axes, panel, split)
            axes.set(title=f"{panel.title}, {split}", ylabel=panel.unit)
        for axes in grid[len(shown) - columns : len(shown)]:
            axes.set_xlabel("epoch")
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(handles))
    return figure


def _draw(axes: Axes, panel: Panel, split: str) -> None:
    """One split of a panel, within the limits of the published axes, and at most twice as far as ours reach."""
    dashes: dict[str, Any] = {"linewidth": 1.0, "linestyle": (0, (4, 2))}
    for name in panel.activations:
        hue = colour(name)
        published, ours = panel.curve(split, name)
        by_epoch = ours.groupby("epoch")["value"]
        middle = by_epoch.median()
        axes.plot(middle.index, middle, color=hue, linewidth=1.6, label=name)
        axes.fill_between(middle.index, by_epoch.min(), by_epoch.max(), color=hue, alpha=0.15, linewidth=0)
        axes.plot(published["epoch"], published["value"], color=hue, **dashes)
    if len(panel.published):
        axes.plot([], [], color=INK, label="published", **dashes)
    published_end, end = panel.published["epoch"].max(), panel.ours["epoch"].max()
    shown = 2 * end if published_end > 2 * end else None  # for runs far from the published end
    axes.set(xlim=(0, shown), ylim=(0, panel.above if math.isfinite(panel.above) else None))
