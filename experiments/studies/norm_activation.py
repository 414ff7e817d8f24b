"""Norm and activation: what becomes unstable when both change, and is ReLU better than GELU without norms?

Command:  ablations study norm_activation --budget short
Cost:     856 s of processor time (short) on 2 busy cores of an AMD EPYC, 27 minutes: 875 runs in 35 cells. Full:
          computed 3e18 FLOPs, 8 hours on a GPU that sustains 1e14 FLOP/s (not measured)
Expected: every norm and placement trains at rates at which the network without norms does not; post-norm, whose
          gradients are largest at initialization, tolerates less than pre-norm (Xiong et al. 2020, arXiv:2002.04745).
          Without norms ReLU is reported to reach a perplexity 8.2 % below GELU's ("ReLU's Revival", 2024)

LayerNorm and RMSNorm, each as pre, post and sandwich, and no norm at all, times gelu, relu, swiglu, geglu and relu2:
35 arms, each at five learning rates from 1e-3 to 1e-1, which are runs of one program, and five seeds.
Short: Transformers of width 32 and 2 layers on the standard library's source in bytes; 300 steps of 8 windows of 64
tokens (153,600 tokens per run).
Full: width 256 and 6 layers on English novels (eltec_eng) in bytes; 5,000 steps of 32 windows of 512 tokens (82 million
tokens per run). This does not replicate the published run, whose setting the abstract does not state.

Tables show each arm's loss at the best learning rate, chosen for every seed by the mean of the *other* seeds, so that
no run chooses itself. Comparisons use the loss at the best rate by the mean of all seeds, corrected for what such a
choice gains from noise, with intervals that repeat the choice. A run has *failed* if a loss or gradient was not finite,
or if its final loss exceeds the entropy of single bytes (unigram); the largest stable rate of an arm is the largest one
of the grid at which no seed has failed. A *spike* is an interval, other than the first, which contains the warmup,
whose largest loss exceeds its mean by more than `SPIKE`.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lab.comparison.outcomes import outcomes
from lab.comparison.reference_predictors import levels
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate, Findings
from lab.report.figures import STYLE
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.report.table import number
from lab.results.results import Results
from lab.statistics.choice import best_rate_contrast
from lab.statistics.paired import holm
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

SPIKE = 1.0
"""Nats by which the largest loss of an interval exceeds its mean; batches of 512 bytes differ by half of that."""
CLAIMED = 1 - 0.082
"""Perplexity of relu over that of gelu without norms, as published."""
REFERENCE, NO_NORM = "layernorm pre", "no norm"
LEVEL = 0.95
NORMS, PLACEMENTS = ("layernorm", "rmsnorm"), ("pre", "post", "sandwich")
ACTIVATIONS = ("gelu", "relu", "swiglu", "geglu", "relu2")
SETTINGS = (*(f"{norm} {placement}" for norm in NORMS for placement in PLACEMENTS), NO_NORM)
ARM = ["setting", "activation"]
RUN = [*ARM, "learning_rate", "seed"]


@dataclass(frozen=True)
class NormActivation:
    """The grid of norms, placements and activations."""

    name = "norm_activation"
    question = "What becomes unstable when norm and activation change together, and does ReLU win without norms?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The grid with norms, and the grid without, where placement has no effect."""
        smoke, full = budget == "smoke", budget == "full"
        task = CausalLanguage(data="stdlib", context=64)
        model = Transformer(
            context=64, d_model=32, n_layers=2, n_heads=2, positions="rotary", bias=False, initialization="lecun"
        )
        settings = Settings(steps=20 if smoke else 300, batch_size=8)
        if full:
            task = CausalLanguage(data="eltec_eng", context=512)
            model = model.clone(context=512, d_model=256, n_layers=6, n_heads=4)
            settings = Settings(steps=5_000, batch_size=32)
        norms, placements = NORMS[: 1 if smoke else 2], PLACEMENTS[: 2 if smoke else 3]
        with_norms = Experiment(
            name="with_norms",
            question="How do the activations differ under every norm and placement?",
            task=task,
            model=model,
            activations=ACTIVATIONS[: 2 if smoke else 5],
            axes=(("model.norm", norms), ("model.placement", placements)),
            learning_rates=(1e-2, 1e-1) if smoke else (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
            seeds=(0, 1) if smoke else (0, 1, 2, 3, 4),
            settings=settings,
            hyperparameters=Hyperparameters(),
        )
        question = "How do the activations differ without norms?"
        without = replace(with_norms, name="without_norms", question=question, model=model.clone(norm="none"), axes=())
        return with_norms, without

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The claim, the least stable arms, and the interactions of two changes."""
        rows = pd.concat([_with_setting(one.rows) for one in results.values()], ignore_index=True)
        first = next(iter(results.values()))
        unigram = levels(first, first.rows, "loss", "validation").get("unigram", math.inf)
        runs = outcomes(rows, "loss", "validation", first.experiment["steps"], ["setting", "learning_rate"])
        runs = runs.assign(failed=runs["diverged"] | (runs["value"] >= unigram)).merge(signs(rows), on=RUN)
        runs = runs.sort_values(ARM, key=_order, kind="stable")
        best = at_best_rates(runs)
        table, together = summary(runs, best), interactions(runs)
        return Findings(
            (claim(runs), least_stable(table), additive(together)),
            {
                "loss": Section(
                    "The final loss at the best learning rate",
                    heat_map(table, "loss", [_loss_words(row) for row in table.to_dict("records")]),
                    table,
                    (
                        "Validation loss in nats per token; † and the number of runs of the arm that diverged at that "
                        "rate, which count as the worst loss. Shades show ranks: darker is lower",
                        f"failed: diverged, or ended above the unigram's {unigram:.3f} nats; spiking: the largest loss "
                        f"of a later interval was over {SPIKE:g} nat above its mean; both of the runs at all rates",
                        "gradient growth: the last interval's mean gradient norm over that of the second; "
                        "log normalizer: the root mean square of log Z on validation; both at the best rate, medians",
                    ),
                ),
                "stability": Section(
                    "The largest stable learning rate",
                    heat_map(table, "largest_stable", [_rate(rate) for rate in table["largest_stable"]]),
                    notes=(
                        f"Of the rates {_listed(sorted(runs['learning_rate'].unique()))}: the largest at which no "
                        "seed failed. Darker is lower",
                    ),
                ),
                "together": Section(
                    "Are two changes the sum of each?",
                    table=together,
                    notes=(
                        f"Differences in loss to gelu, {REFERENCE}, at the best rate of each arm: of the norm alone, "
                        "of the activation alone, and of both; the interaction is the difference of both from the sum, "
                        f"paired by seed, with its interval of level {LEVEL:g}, which repeats the choice of the "
                        "rates, and Holm's p over the table",
                    ),
                ),
            },
        )


def _with_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with norm and placement as one column."""
    if "norm" not in rows:
        return rows.assign(setting=NO_NORM)
    return rows.assign(setting=rows["norm"] + " " + rows["placement"]).drop(columns=["norm", "placement"])


def _order(names: pd.Series) -> pd.Series:
    """The order of settings and activations in tables and figures."""
    return names.map({name: place for place, name in enumerate((*SETTINGS, *ACTIVATIONS))})


def signs(rows: pd.DataFrame) -> pd.DataFrame:
    """`spiking`, `gradient_growth` and `log_normalizer` of every run, as defined in the module's docstring.

    Values that are not finite are nan and count as no spike.
    """
    train = rows[(rows["split"] == "train") & (rows["step"] > rows.loc[rows["split"] == "train", "step"].min())]
    wide = train.pivot_table("value", [*RUN, "step"], "metric", dropna=False, sort=False).reset_index("step")
    by_run = wide.assign(spiking=wide["largest_loss"] - wide["loss"] > SPIKE).groupby(RUN, sort=False)
    growth = by_run["gradient_norm"].agg(lambda norms: norms.iloc[-1] / norms.iloc[0])
    at_end = rows[(rows["split"] == "validation") & (rows["step"] == rows["step"].max())]
    logs = at_end[at_end["metric"] == "log_normalizer"].set_index(RUN)["value"]
    found = {"spiking": by_run["spiking"].any(), "gradient_growth": growth, "log_normalizer": logs}
    return pd.DataFrame(found).reset_index()


def at_best_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and seed: its run at the learning rate whose mean over the arm's other seeds is lowest.

    A single seed is shown at its own best rate.
    """
    chosen = []
    for _, arm in runs.groupby(ARM, sort=False):
        values = arm.pivot_table("value", "seed", "learning_rate")
        others = values.sum() - values if len(values) > 1 else values
        rates = others.idxmin(axis=1).rename("learning_rate").reset_index()
        chosen.append(arm.merge(rates, on=["seed", "learning_rate"]))
    return pd.concat(chosen, ignore_index=True)


def largest_stable(runs: pd.DataFrame) -> pd.Series:
    """The largest rate of each arm at which no seed failed; nan if there is none."""
    failed = runs.groupby([*ARM, "learning_rate"])["failed"].any().reset_index()
    return failed.assign(rate=failed["learning_rate"].where(~failed["failed"])).groupby(ARM)["rate"].max()


def summary(runs: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: setting, activation, n, loss, best_rate, diverged, largest_stable, runs, failed, spiking,
    gradient_growth, log_normalizer."""
    every, chosen = runs.groupby(ARM), best.groupby(ARM)
    table = pd.DataFrame(
        {
            "n": chosen.size(),
            "loss": chosen["value"].mean(),
            "best_rate": chosen["learning_rate"].agg(lambda rates: _listed(sorted(set(rates)))),
            "diverged": chosen["diverged"].sum(),
            "largest_stable": largest_stable(runs),
            "runs": every.size(),
            "failed": every["failed"].sum(),
            "spiking": every["spiking"].sum(),
            "gradient_growth": chosen["gradient_growth"].median(),
            "log_normalizer": chosen["log_normalizer"].median(),
        }
    )
    return table.loc[pd.MultiIndex.from_frame(runs[ARM].drop_duplicates())].reset_index()


def losses(runs: pd.DataFrame, arms: Sequence[tuple[str, str]]) -> Float[np.ndarray, "arms rates seeds"]:
    """The final losses of arms, (setting, activation), for the seeds that all of them have."""
    seeds = runs.pivot_table("value", RUN[:-1], "seed").dropna(axis="columns")
    return np.stack([seeds.xs(arm, level=ARM).to_numpy() for arm in arms])


def claim(runs: pd.DataFrame) -> Verdict:
    """Whether relu's perplexity without norms is below gelu's by the published amount: "yes" if the interval of the
    ratio lies below 1 and contains the published one, "partly" if it only lies below 1, otherwise "no"."""
    words = f"Without norms ReLU's perplexity is {1 - CLAIMED:.1%} below GELU's"
    pairs = losses(runs, [(NO_NORM, "relu"), (NO_NORM, "gelu")])
    found, n = best_rate_contrast(pairs, level=LEVEL), pairs.shape[-1]
    ratio, low, high = (math.exp(min(float(value), 88.0)) for value in (found.mean, found.low, found.high))
    holds = low <= CLAIMED <= high
    reason = f"ratio {ratio:.3f} ({LEVEL:.0%} interval {low:.3f} to {high:.3f}, n = {n}) at each one's best rate"
    if n == 1:
        return Verdict(words, "no verdict", f"ratio {ratio:.3f}; n = 1 has no interval")
    if high < 1:
        return Verdict(words, "yes" if holds else "partly", reason)
    return Verdict(words, "inconclusive" if low <= 1 and holds else "no", reason)


def least_stable(table: pd.DataFrame) -> Verdict:
    """The arms with the smallest largest stable rate."""
    words = "The least stable of all arms"
    reached = table["largest_stable"].fillna(0)
    last = table[reached == reached.min()]
    names = [f"{row['activation']}, {row['setting']}" for row in last.to_dict("records")]
    lowest, highest = (_rate(one) for one in (reached.min(), reached.max()))
    seeds = f"n = {table['n'].min()} seeds each"
    if len(last) == len(table):
        return Verdict(words, "inconclusive", f"the largest stable rate is {highest} for all; {seeds}")
    reason = f"largest stable rate {lowest}, of the most stable {highest}; {seeds}"
    if table["n"].min() == 1:
        return Verdict(words, "no verdict", reason)
    return Verdict(words, "; ".join(names) if len(names) < 4 else f"{len(names)} of {len(table)}", reason)


def interactions(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per setting and activation, neither that of the reference: setting, activation, of_norm, of_activation,
    of_both, interaction, low, high, n, p_adjusted, verdict."""
    rows = []
    for setting, name in runs[ARM].drop_duplicates().itertuples(index=False):
        if setting == REFERENCE or name == "gelu":
            continue
        four = losses(runs, [(setting, name), (setting, "gelu"), (REFERENCE, name), (REFERENCE, "gelu")])
        contrasts = {"of_norm": (0, 1, 0, -1), "of_activation": (0, 0, 1, -1), "of_both": (1, 0, 0, -1)}
        means = {part: float(best_rate_contrast(four, weights).mean) for part, weights in contrasts.items()}
        found = best_rate_contrast(four, (1, -1, -1, 1), LEVEL)
        tested = {"interaction": float(found.mean), "low": float(found.low), "high": float(found.high)}
        tested |= {"n": four.shape[-1], "p": float(found.p_value)}
        rows.append({"setting": setting, "activation": name, **means, **tested})
    table = pd.DataFrame(rows)
    adjusted = holm(table.pop("p"))
    sides = np.where(table["interaction"] < 0, "better than the sum", "worse than the sum")
    return table.assign(p_adjusted=adjusted, verdict=np.where(adjusted < 1 - LEVEL, sides, "inconclusive"))


def additive(table: pd.DataFrame) -> Verdict:
    """Whether the effect of changing norm and activation together is the sum of both effects: "no" if an interaction is
    resolved; if none is, that does not show that there is none."""
    words = "The effects of changing norm and activation add up"
    resolved = table[table["verdict"] != "inconclusive"]
    shown = resolved if len(resolved) else table
    row = shown.iloc[shown["interaction"].abs().argmax()]
    size, low, high = (number(row[name], 3, sign=True) for name in ("interaction", "low", "high"))
    reason = (
        f"{len(resolved)} of {len(table)} interactions are resolved; the largest{' of them' if len(resolved) else ''}, "
        f"{row['activation']}, {row['setting']}: {size} nats beyond the sum "
        f"({LEVEL:.0%} interval {low} to {high}, n = {row['n']})"
    )
    return Verdict(words, "no" if len(resolved) else "no verdict" if row["n"] == 1 else "inconclusive", reason)


def heat_map(table: pd.DataFrame, column: str, words: list[str]) -> Figure:
    """Settings by activations, shaded by the rank of a column, labelled with the words of each row."""
    settings, names = (list(dict.fromkeys(table[axis])) for axis in ARM)
    ranks = table[column].rank(method="dense", na_option="top") - 1
    shades = ranks / max(1, ranks.max())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.5 + 0.4 * len(settings)), layout="constrained")
        axes = figure.subplots()
        for text, shade, (setting, name) in zip(words, shades, table[ARM].itertuples(index=False), strict=True):
            x, y = names.index(name), settings.index(setting)
            axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=mpl.colormaps["cividis"](shade)))
            axes.text(x, y, text, ha="center", va="center", color="white" if shade < 0.5 else "black")
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(settings) - 0.5, -0.5))
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(settings)), settings)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def _loss_words(row: Mapping[Hashable, Any]) -> str:
    return f"{row['loss']:.3f}" + (f" †{row['diverged']}" if row["diverged"] else "")


def _rate(rate: float) -> str:
    """A largest stable rate in words; 0 or nan if there is none."""
    return f"{rate:g}" if rate > 0 else "none"


def _listed(rates: Iterable[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates)


study = NormActivation()
