"""Which of the published differences between 30 activations, with one run each, are real?

Command:  ablations study activation_zoo --budget short
Cost:     1,521 s of processor time (short) on an AMD EPYC, 14 minutes of 2 cores; about 40 on a Xeon of 2.5 GHz (34
          arms took 15 there): 850 runs of 153,600 tokens and 170 programs. Full: 1,870 runs, computed 8e18 FLOPs, a
          day on a GPU that sustains 1e14 FLOP/s (not measured)
Expected: most differences inconclusive, as 29 activations lie within 0.006 bits/byte of GELU in the table. Activations
          unlike a gate (softmax along the hidden units) or without odd part (abs) may be worse, and gated units and
          squared ReLU better, as elsewhere in the literature

EleutherAI's "Activation Function Ablation" (L. Gao, 2021) trained GPT-like models of about 100 million parameters on
the Pile for 10,000 steps, once with each of 30 activations; the author notes that many more runs would be needed to
estimate estimate the variance. `activation_zoo_published.csv` is its table. Its GELU is the tanh approximation
(EleutherAI/gpt-neo, models/activations.py), which is therefore the baseline here.

All 85 built-in activations of version 0.2 are trained, plain and gated, and the published ones are also compared among
themselves.
Smoke: three of them. Short: seeds 0 to 4; two sizes (32 wide and 1 layer; 64 wide and 2 layers); WikiText-2 in bytes,
300 steps of 8 windows of 64: 153,600 tokens per run; learning rate 3e-3 for all. Full: each at the best of three rates
by two separate seeds; two sizes (256 wide and 4 layers; 512 and 8), English novels, 4,000 steps of 64 windows of
256: 65.5 million tokens per run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.quickstart import experiment as quickstart
from lab.comparison.comparison import Arm, Comparison, compare
from lab.comparison.outcomes import outcomes
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment, Tuning
from lab.experiment.study import Evaluate, Findings
from lab.report.figures import INK, STYLE, colour
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.statistics.arms.aggregate import interquartile_mean
from lab.statistics.arms.ranking import RankCorrelation, rank_correlation
from lab.statistics.paired import holm, paired_difference
from lab.statistics.spread import range_of_equals
from lab.tasks.language import CausalLanguage
from lab.training.settings import Settings
from models.activations import ACTIVATIONS, activation, glu_of

PUBLISHED = pd.read_csv(Path(__file__).with_name("activation_zoo_published.csv")).set_index("name")
RANGE = float(np.ptp(PUBLISHED["bits_per_byte"]))
"""Bits per byte from the best published activation to the worst."""
GELU = "gelu_tanh"
LATER = ("golu", "gelu_monotone", "gelu_sine", "soi", "leaky_relu2", "smooth_relu2")
"""Built-in activations that this study does not ask about: they came after its results."""
ASKED = tuple(name for name in ACTIVATIONS if name.removesuffix("_glu") not in LATER)
ARMS: dict[Budget, tuple[str, ...]] = {"smoke": (GELU, "relu", "softmax"), "short": ASKED, "full": ASKED}
SIZES: dict[Budget, dict[str, dict[str, int]]] = {
    "smoke": {
        "small": {"d_model": 16, "n_layers": 1, "n_heads": 2},
        "large": {"d_model": 32, "n_layers": 1, "n_heads": 2},
    },
    "short": {
        "small": {"d_model": 32, "n_layers": 1, "n_heads": 2},
        "large": {"d_model": 64, "n_layers": 2, "n_heads": 4},
    },
    "full": {
        "small": {"d_model": 256, "n_layers": 4, "n_heads": 4},
        "large": {"d_model": 512, "n_layers": 8, "n_heads": 8},
    },
}
TASKS: dict[Budget, CausalLanguage] = {
    "smoke": CausalLanguage(data="stdlib", context=32, evaluation_windows=16),
    "short": CausalLanguage(data="wikitext2", context=64, evaluation_windows=64),
    "full": CausalLanguage(data="eltec_eng", context=256, evaluation_windows=512),
}
SETTINGS: dict[Budget, Settings] = {
    "smoke": Settings(steps=40, batch_size=8, evaluate_every=20),
    "short": Settings(steps=300, batch_size=8),
    "full": Settings(steps=4000, batch_size=64),
}
SHOWN = 0.9
"""Fraction of the values that determines the axes, plus a half; values beyond are marked at the edge."""


@dataclass(frozen=True)
class ActivationZoo:
    """One experiment per size: every activation compared with the GELU of the table, in bits per byte."""

    name: str = "activation_zoo"
    question: str = "Which of the published differences between 30 activations, one run each, are real?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The small networks, then the large ones."""
        return tuple(
            Experiment(
                name=f"{self.name}_{size}",
                question=f"Which activations differ from GELU in {size} networks?",
                task=TASKS[budget],
                model=replace(quickstart.model, context=TASKS[budget].context, **fields),
                activations=ARMS[budget],
                baseline=GELU,
                metric="bits_per_byte",
                seeds=(0, 1) if budget == "smoke" else (0, 1, 2, 3, 4),
                settings=SETTINGS[budget],
                learning_rates=() if budget == "full" else (3e-3,),
                tuning=Tuning(learning_rates=(3e-4, 1e-3, 3e-3)) if budget == "full" else Tuning(),
            )
            for size, fields in SIZES[budget].items()
        )

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """Differences at each size, and whether they agree with the published ones."""
        by_size = {name.removeprefix(f"{self.name}_"): found for name, found in results.items()}
        compared = {size: compare(found) for size, found in by_size.items()}
        of_table = {size: compare(published_only(found)) for size, found in by_size.items()}
        values = {size: bits(found, compared[size]) for size, found in by_size.items()}
        both = over_sizes(values, next(iter(compared.values())).level)
        published = PUBLISHED[["bits_per_byte"]]
        correlations = {f"published and {size}": correlation(table, published) for size, table in values.items()}
        correlations[" and ".join(values)] = correlation(*values.values())
        return Findings(
            verdicts=(
                *(one for size, found in compared.items() for one in readings(size, found, of_table[size])),
                *(one for size, table in values.items() for one in gating(size, table, compared[size].level)),
                *agreements(correlations),
                leaders(both, compared),
            ),
            sections={
                "differences": Section(
                    f"Differences to {GELU}",
                    forest(compared, list(both["activation"])),
                    both,
                    notes=(
                        "sorted by both sizes together: ratio is the interquartile mean, over sizes and seeds, of the "
                        f"ratio of bits per byte to those of {GELU}, with a stratified bootstrap interval",
                        "bars are paired t intervals, uncorrected; a filled mark is resolved after Holm's correction "
                        "over the arms of the size; a triangle is off the axis",
                        f"the band is the whole published range, {RANGE:.4f} bits/byte, starting at {GELU}",
                    ),
                ),
                "published": Section(
                    "Published against ours",
                    scatter(values),
                    notes=("bars: the sd over our seeds; published values are single runs",),
                ),
                **{
                    f"ranking_{size}": Section(f"Ranking, {size}", table=ranking(compared[size], by_size[size]))
                    for size in values
                },
            },
        )


def published_only(found: Results) -> Results:
    """The published arms, which form a separate family of tests."""
    return replace(found, rows=found.rows[found.rows["activation"].isin(PUBLISHED.index)])


def bits(found: Results, compared: Comparison) -> pd.DataFrame:
    """Bits per byte at the step of the comparison: one row per activation, and one column per seed that all have."""
    ends = outcomes(found.rows, compared.metric, compared.split, compared.step)
    return ends.pivot_table(index="activation", columns="seed", values="value").dropna(axis="columns")


def over_sizes(values: Mapping[str, pd.DataFrame], level: float) -> pd.DataFrame:
    """One row per activation, best first: ratio to GELU over all sizes and seeds, with low and high."""
    names = next(iter(values.values())).index
    seeds = pd.concat(values.values()).dropna(axis="columns").columns  # seeds are resampled jointly at all sizes
    ratios_of = [(table / table.loc[GELU]).loc[names, seeds].to_numpy() for table in values.values()]
    found = interquartile_mean(np.log(np.stack(ratios_of, axis=1)), level)
    ratios = {"ratio": np.exp(found.value), "low": np.exp(found.low), "high": np.exp(found.high)}
    return pd.DataFrame({"activation": names, **ratios}).sort_values("ratio", ignore_index=True)


def correlation(ours: pd.DataFrame, theirs: pd.DataFrame) -> RankCorrelation | None:
    """Of two tables (one row per activation, one column per run), over the activations in both; None if < 3."""
    names = ours.index.intersection(theirs.index)
    if len(names) < 3:
        return None
    return rank_correlation(ours.loc[names].to_numpy(), theirs.loc[names].to_numpy())


def typical_sd(compared: Comparison) -> float:
    """Seed-to-seed sd of bits per byte: the median over arms, which is robust to unstable ones."""
    return float(np.median([group.sd for group in (*compared.baselines, *compared.arms)]))


def readings(size: str, compared: Comparison, of_table: Comparison) -> list[Verdict]:
    """For one size: whether anything differs, and for the published arms, compared among themselves, whether the
    published range exceeds noise and whether GELU leads."""
    groups = (*compared.baselines, *compared.arms)
    spread = f"sd over {groups[0].n} seeds {typical_sd(compared):.4f} (median of arms)"
    differ = Verdict(
        f"{size}: activations differ by more than seeds do",
        "yes" if any(arm.verdict in ("better", "worse") for arm in compared.arms) else "inconclusive",
        f"means of {len(groups)} arms span {np.ptp([group.mean for group in groups]):.4f} bits/byte, {spread}; "
        f"{counted(compared.arms)} (Holm over {len(compared.arms)} arms, which finds differences of "
        f"{detectable(compared):.4f} with probability 0.8, median of arms)",
    )
    return [differ, _noise(size, of_table), _lead(size, of_table)]


def detectable(compared: Comparison) -> float:
    """The minimum detectable effect at this number of seeds, with power 0.8: the median over arms."""
    return float(np.median([arm.minimum_detectable_effect for arm in compared.arms]))


def _noise(size: str, of_table: Comparison) -> Verdict:
    """Whether that many equal networks, with our noise and one run each, would span less than the published range."""
    claim = f"{size}: the published range of {RANGE:.4f} bits/byte exceeds our noise"
    sd = typical_sd(of_table)
    if not np.isfinite(sd):
        return Verdict(claim, "no verdict", "one seed has no sd")
    span = range_of_equals(len(PUBLISHED)) * sd
    reason = (
        f"{len(PUBLISHED)} equal networks, one run each, would span up to {span:.4f} in 95 of 100 such tables if they "
        f"vary as ours do, sd over {of_table.baselines[0].n} seeds {sd:.4f} (median of arms); larger networks, trained "
        f"longer, may vary less; our own pairs find differences of {detectable(of_table):.4f}"
    )
    return Verdict(claim, "yes" if span < RANGE else "inconclusive", reason)


def _lead(size: str, of_table: Comparison) -> Verdict:
    """Whether every published activation is worse than GELU here too."""
    verdicts = {arm.verdict for arm in of_table.arms}
    outcome = "no" if "better" in verdicts else "yes" if verdicts == {"worse"} else "inconclusive"
    ahead = [f"{arm.activation} {interval(arm)}" for arm in of_table.arms if arm.verdict == "better"]
    named = f"; better: {', '.join(ahead)}" if ahead else ""
    return Verdict(
        f"{size}: GELU is ahead of all others published",
        outcome,
        f"of {len(of_table.arms)} others, {counted(of_table.arms)}{named} (Holm over these alone, n = "
        f"{of_table.baselines[0].n})",
    )


def gating(size: str, table: pd.DataFrame, level: float) -> list[Verdict]:
    """Whether the gated linear unit of a function is better than the function itself, on average over all functions
    with both forms; empty if there is none."""
    gated = {name: glu_of(name).name for name in map(str, table.index) if not activation(name).gated}
    both = {name: glu for name, glu in gated.items() if glu in table.index}
    if not both:
        return []
    plain, units = table.loc[list(both)].to_numpy(), table.loc[list(both.values())].to_numpy()
    found = paired_difference(units.mean(axis=0), plain.mean(axis=0), level)
    gain = int((units.mean(axis=1) < plain.mean(axis=1)).sum())
    outcome = "yes" if found.high < 0 else "no" if found.low > 0 else "inconclusive"
    reason = (
        f"{found.mean:+.4f} bits/byte ({100 * level:g} % interval {found.low:+.4f} to {found.high:+.4f}, n = "
        f"{table.shape[1]}), mean of {len(both)} functions, of which {gain} gain"
    )
    return [Verdict(f"{size}: gated units are ahead of the functions that gate them", outcome, reason)]


def counted(arms: Sequence[Arm]) -> str:
    """The number of arms with each verdict, in words."""
    return ", ".join(
        f"{sum(arm.verdict == outcome for arm in arms)} {outcome}" for outcome in ("better", "worse", "inconclusive")
    )


def interval(arm: Arm) -> str:
    """The difference with its interval, in words."""
    return f"{arm.difference:+.4f} ({arm.low:+.4f} to {arm.high:+.4f})"


def agreements(correlations: Mapping[str, RankCorrelation | None]) -> list[Verdict]:
    """Whether pairs of rankings agree by more than chance, with Holm's correction over the pairs."""
    adjusted = iter(holm([found.p_value for found in correlations.values() if found]))
    return [_agreement(between, found, next(adjusted) if found else 1) for between, found in correlations.items()]


def _agreement(between: str, found: RankCorrelation | None, p: float) -> Verdict:
    claim = f"The rankings agree: {between}"
    if found is None:
        return Verdict(claim, "no verdict", "fewer than 3 activations in common")
    outcome = "inconclusive" if p >= 0.05 else "yes" if found.value > 0 else "no"
    reason = f"Spearman {found.value:+.2f} (p {found.p_value:.2g} if the rankings were unrelated, {p:.2g} by Holm)"
    return Verdict(claim, outcome, reason)


def leaders(both: pd.DataFrame, compared: Mapping[str, Comparison]) -> Verdict:
    """Whether anything is better than GELU at every size, and the five best over all sizes."""
    better = [{arm.activation for arm in found.arms if arm.verdict == "better"} for found in compared.values()]
    ahead = [name for name in both["activation"] if all(name in found for found in better)]
    words = [
        f"{row['activation']} {row['ratio']:.4f} ({row['low']:.4f} to {row['high']:.4f})"
        for row in both.head(5).to_dict("records")
    ]
    return Verdict(
        "Something is ahead of GELU at both sizes",
        "yes" if ahead else "inconclusive",
        f"better at both: {', '.join(ahead) or 'none'} of {len(both) - 1}; the lowest ratios of bits per byte over "
        f"both (interquartile mean, interval uncorrected): {', '.join(words)}",
    )


def ranking(compared: Comparison, found: Results) -> pd.DataFrame:
    """One row per activation, best first: what was published of it and what was found, with ranks (1 is best)."""
    ends = outcomes(found.rows, "loss", compared.split, compared.step)
    loss = ends.groupby("activation")["value"].mean()
    groups = sorted((*compared.baselines, *compared.arms), key=lambda group: group.mean)
    published_rank = PUBLISHED["bits_per_byte"].rank(method="min").astype(int)
    rows = []
    for rank, group in enumerate(groups, 1):
        known = group.activation in PUBLISHED.index
        about: dict[str, Any] = {"rank": rank, "activation": group.activation}
        if known:
            about["table's rank"] = str(published_rank[group.activation])
            about["table's bits/byte"] = f"{PUBLISHED['bits_per_byte'][group.activation]:.4f}"
        about |= {"loss": loss[group.activation], "bits/byte": group.mean, "sd": group.sd, "n": group.n}
        about |= {"diverged": group.n_diverged}
        if isinstance(group, Arm):
            about |= {"difference": group.difference, "low": group.low, "high": group.high}
            about |= {"minimum_detectable_effect": group.minimum_detectable_effect, "verdict": group.verdict}
        rows.append(about)
    order = ["rank", "activation", "table's rank", "table's bits/byte", "loss", "bits/byte", "sd", "n", "diverged"]
    order += ["difference", "low", "high", "minimum_detectable_effect", "verdict"]
    words = ["table's rank", "table's bits/byte", "verdict"]
    table = pd.DataFrame(rows, columns=order)
    return table.assign(**{name: table[name].fillna("") for name in words})


def forest(compared: Mapping[str, Comparison], order: Sequence[str]) -> Figure:
    """One pair of axes per size, one row per activation in the given order: difference to GELU and its interval."""
    names = [name for name in order if name != GELU]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.2 + 0.2 * len(names)), layout="constrained")
        grid = figure.subplots(1, len(compared), sharey=True, squeeze=False)[0]
        for axes, (size, found) in zip(grid, compared.items(), strict=True):
            arms = {arm.activation: arm for arm in found.arms}
            _rows(axes, [arms[name] for name in names])
            axes.set(title=f"{size}, n = {found.baselines[0].n}", xlabel=f"bits/byte above {GELU} (left is better)")
        grid[0].set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        grid[0].set_yticklabels(names)
    return figure


def _rows(axes: Axes, arms: Sequence[Arm]) -> None:
    """One row per arm, within axes that fit all that are better and most that are worse."""
    ends = [end for arm in arms for end in (arm.low, arm.difference, arm.high) if np.isfinite(end)]
    left = 1.1 * min(*(arm.difference for arm in arms), np.quantile(ends, 1 - SHOWN), -RANGE)
    right = 1.5 * max(np.quantile(ends, SHOWN), RANGE)
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvspan(0, RANGE, color=INK, alpha=0.12, linewidth=0)
    for height, arm in enumerate(arms):
        hue = colour(arm.activation)
        axes.plot(np.clip([arm.low, arm.high], left, right), [height, height], color=hue, linewidth=1.8)
        marker, face = ">" if arm.difference > right else "o", "none" if arm.verdict == "inconclusive" else hue
        middle = min(arm.difference, right)
        axes.plot(middle, height, marker, markersize=5, color=hue, markerfacecolor=face, clip_on=False)
    axes.set_xlim(left, right)
    axes.grid(visible=False, axis="y")


def scatter(values: Mapping[str, pd.DataFrame]) -> Figure:
    """One pair of axes per size: bits per byte of the table, and ours with the sd over seeds; outliers are named."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        for axes, (size, table) in zip(figure.subplots(1, len(values), squeeze=False)[0], values.items(), strict=True):
            ours = table[table.index.isin(PUBLISHED.index)].agg(["mean", "std"], axis=1)
            points = ours.assign(published=PUBLISHED["bits_per_byte"])
            middle = points["mean"].median()
            edge = middle + 1.5 * (points["mean"].quantile(SHOWN) - middle)
            ranks = points[["mean", "published"]].rank()
            outermost = ((ranks <= 3) | (ranks > len(ranks) - 3)).any(axis="columns")
            for name, mean, sd, published in points.itertuples():
                y, hue = min(mean, edge), colour(name)
                axes.errorbar(published, y, yerr=sd if mean <= edge else 0, color=hue, linewidth=1.2)
                axes.plot(published, y, "o" if mean <= edge else "^", color=hue, markersize=4.5, clip_on=False)
                if outermost[name]:
                    axes.annotate(name, (published, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
            axes.set(title=size, xlabel="published bits/byte (the Pile)", ylabel="our bits/byte")
            axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure


study = ActivationZoo()
