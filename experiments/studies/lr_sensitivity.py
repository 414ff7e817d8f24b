"""Learning-rate sensitivity: how much does the wrong learning rate cost with each activation, and what lowers that?

Command:  ablations study lr_sensitivity --budget short
Cost:     713 s of processor time (short) on 2 busy cores of an AMD EPYC, 12 minutes: 896 runs in 32 cells. Full:
          computed 3e18 FLOPs, 8 hours on a GPU that sustains 1e14 FLOP/s (not measured)
Expected: qk-norm and z-loss lower the sensitivity, and wider networks are more sensitive (Wortsman et al. 2023,
          arXiv:2309.14322). All networks there used gelu; the effect of other activations is unknown

The sensitivity is S = mean over learning rates of min(loss, loss at init) - the lowest loss (their section 2.2), for
one seed, over seven rates from 3e-4 to 3e-1, which are runs of one program; a diverged run counts as the network at
init. S does not depend on the best loss, so the curves are shown beside it.

Short: gelu, relu, swiglu and relu2; widths 16 and 48 with heads of 16 features and 2 layers; with and without qk-norm
and z-loss (weight 1e-4); four seeds; the standard library's source in bytes; 240 steps of 8 windows of 64 tokens
(122,880 tokens per run).
Full: the same arms at widths 128, 256 and 384 with heads of 64 features and 2, 4 and 6 layers; three seeds; English
novels (eltec_eng) in bytes; 5,000 steps of 32 windows of 512 tokens (82 million tokens per run).

The recipe is theirs on a smaller scale: AdamW with b2 0.95, eps 1e-8, clipping at 1, warmup over 5 % of the steps and a
cosine to zero (theirs ends at 1e-5), pre-LayerNorm without biases and eps 1e-6, rotary positions, an untied output
layer, embeddings of variance 1/d, other weights of variance 1/fan-in. Their weight decay is independent of the learning
rate; ours is multiplied by it, so that the largest rate would decay a thousand times as fast as the smallest. It is
therefore off.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.comparison.outcomes import outcomes
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate, Findings
from lab.report.figures import STYLE, line_styles
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.report.table import number
from lab.results.results import Results
from lab.statistics.paired import PairedDifference, holm, paired_difference
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
LAYERS = {16: 2, 48: 2, 128: 2, 256: 4, 384: 6}
"""Width -> layers."""
LEVEL = 0.95
SETTING = ["qk_norm", "z_loss"]
ARM = ["activation", "width", *SETTING]


@dataclass(frozen=True)
class LearningRateSensitivity:
    """Activations, widths, qk-norm and z-loss, each at seven learning rates."""

    name = "lr_sensitivity"
    question = "How sensitive to the learning rate is training with each activation and width, and what helps?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """One experiment per width."""
        widths = {"smoke": (16,), "short": (16, 48), "full": (128, 256, 384)}[budget]
        return tuple(_of_width(width, budget) for width in widths)

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The sensitivities, what influences them, and the curves they are computed from."""
        runs = pd.concat([bounded(one) for one in results.values()], ignore_index=True)
        found = sensitivities(runs)
        return Findings(
            effects(found),
            {
                "sensitivity": Section(
                    "Sensitivity to the learning rate",
                    draw_sensitivities(found),
                    compared(found),
                    (
                        "S, in nats: the mean over the learning rates of min(loss, loss at init) minus the lowest "
                        "loss, per seed; dots are means, bars extend from the lowest to the highest seed",
                        f"differences to gelu are paired by seed, with intervals of level {LEVEL:g}; p and verdicts "
                        "after Holm's correction over the table; better is less sensitive",
                    ),
                ),
                "curves": Section(
                    "Loss against learning rate",
                    draw_curves(runs),
                    notes=(
                        "Mean over the seeds of min(loss, loss at init); a cross marks rates at which a run diverged",
                    ),
                ),
            },
        )


def _of_width(width: int, budget: Budget) -> Experiment:
    """All arms of one width."""
    smoke, full = budget == "smoke", budget == "full"
    task = CausalLanguage(data="stdlib", context=64)
    settings = Settings(steps=20 if smoke else 240, batch_size=8, final_ratio=0.0, evaluate_every=10 if smoke else 60)
    if full:
        task = CausalLanguage(data="eltec_eng", context=512)
        settings = Settings(steps=5_000, batch_size=32, final_ratio=0.0)
    return Experiment(
        name=f"width_{width}",
        question=f"How sensitive to the learning rate are the activations at width {width}?",
        task=task,
        model=Transformer(
            context=task.context,
            d_model=width,
            n_layers=LAYERS[width],
            n_heads=width // (64 if full else 16),
            norm_epsilon=1e-6,
            positions="rotary",
            bias=False,
            tied=False,
            initialization="lecun",
        ),
        activations=("gelu", "relu") if smoke else ("gelu", "relu", "swiglu", "relu2"),
        axes=(("model.qk_norm", (False, True)), ("settings.z_loss", (0.0,) if smoke else (0.0, 1e-4))),
        learning_rates=RATES,
        seeds={"smoke": (0, 1), "short": (0, 1, 2, 3), "full": (0, 1, 2)}[budget],
        settings=settings,
        hyperparameters=Hyperparameters(weight_decay=0.0, b2=0.95, eps=1e-8, clip_norm=1.0),
    )


def bounded(results: Results) -> pd.DataFrame:
    """One row per run: activation, width, qk_norm, z_loss, learning_rate, seed, diverged, and `loss`, at most
    that at init, which diverged runs get."""
    rows, axes = results.rows, [*SETTING, "learning_rate"]
    runs = outcomes(rows, "loss", "validation", results.experiment["steps"], axes)
    at_init = rows[(rows["metric"] == "loss") & (rows["split"] == "validation") & (rows["step"] == 0)]
    run = ["activation", *axes, "seed"]
    runs = runs.merge(at_init[[*run, "value"]].rename(columns={"value": "initial"}), on=run)
    loss = np.minimum(runs["value"], runs["initial"])  # a diverged run's value is at least that at init: `outcomes`
    runs = runs.assign(width=results.cells[0]["model"]["d_model"], loss=loss)
    return runs[[*ARM, "learning_rate", "seed", "diverged", "loss"]]


def sensitivities(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and seed: activation, width, qk_norm, z_loss, seed, sensitivity."""
    losses = runs.groupby([*ARM, "seed"], sort=False)["loss"]
    return (losses.mean() - losses.min()).rename("sensitivity").reset_index()


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: activation, width, qk_norm, z_loss, n, sensitivity; difference to gelu, low, high, p_adjusted,
    verdict."""
    gelu = found[found["activation"] == "gelu"].drop(columns="activation")
    paired = found.merge(gelu, on=["width", *SETTING, "seed"], suffixes=("", "_of_gelu"))
    rows = []
    for _, arm in paired.groupby(ARM, sort=False):
        row = {**arm.iloc[0][ARM], "n": len(arm), "sensitivity": arm["sensitivity"].mean()}
        if row["activation"] != "gelu":
            test = paired_difference(arm["sensitivity"], arm["sensitivity_of_gelu"], LEVEL)
            row |= {"difference": test.mean, "low": test.low, "high": test.high, "p": test.p_value}
        rows.append(row)
    table = pd.DataFrame(rows)
    adjusted = holm(table.pop("p"))
    verdicts = np.where(table["difference"] < 0, "better", "worse")
    verdicts = np.where(adjusted < 1 - LEVEL, verdicts, "inconclusive")
    return table.assign(p_adjusted=adjusted, verdict=np.where(table["activation"] == "gelu", "baseline", verdicts))


def effects(found: pd.DataFrame) -> tuple[Verdict, ...]:
    """Whether each other activation is less sensitive than gelu, training with each stabilizer than without, and each
    width than the largest: averaged over all other factors, paired by seed, with Holm's p per factor."""
    references = {"activation": "gelu", "qk_norm": False, "z_loss": 0.0, "width": found["width"].max()}
    made = []
    for field, reference in references.items():
        means = found.pivot_table("sensitivity", "seed", field)
        others = [value for value in found[field].unique() if value != reference]
        tests = [paired_difference(means[value], means[reference], LEVEL) for value in others]
        adjusted = holm([test.p_value for test in tests])
        for value, test, p in zip(others, tests, adjusted, strict=True):
            claim = f"{_words(field, value)} is less sensitive than {_words(field, reference)}"
            levels = f"S {means[value].mean():.3f} against {means[reference].mean():.3f} nats"
            made.append(_verdict(claim, levels, test, float(p)))
    return tuple(made)


def _verdict(claim: str, levels: str, test: PairedDifference, p: float) -> Verdict:
    if test.n == 1:
        return Verdict(claim, "no verdict", f"{levels}; n = 1 has no interval")
    size, low, high = (number(value, 3, sign=True) for value in (test.mean, test.low, test.high))
    reason = f"{levels}: {size} ({LEVEL:.0%} interval {low} to {high}, n = {test.n}, Holm's p {p:.2g})"
    if not p < 1 - LEVEL:
        return Verdict(claim, "inconclusive", reason)
    return Verdict(claim, "yes" if test.mean < 0 else "no, higher", reason)


def _words(field: str, value: Any) -> str:
    """A value of a factor, in words."""
    if field in SETTING:
        return f"{'with' if value else 'without'} {field.replace('_', '-')}"
    return f"width {value}" if field == "width" else str(value)


def draw_sensitivities(found: pd.DataFrame) -> Figure:
    """S against width, one panel per pair of stabilizers: means, and bars from the lowest seed to the highest."""
    panels, widths = list(found.groupby(SETTING, sort=False)), list(found["width"].unique())
    styles = line_styles(list(found["activation"].unique()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.5 + 2.4 * math.ceil(len(panels) / 2)), layout="constrained")
        grid = figure.subplots(math.ceil(len(panels) / 2), 2, sharex=True, sharey=True, squeeze=False)
        for axes, (setting, panel) in zip(grid.flat, panels, strict=False):
            for index, (name, style) in enumerate(styles.items()):
                seeds = panel[panel["activation"] == name].groupby("width")["sensitivity"]
                means = seeds.mean()
                places = means.index.to_numpy() * 1.03**index  # side by side
                bars = [means - seeds.min(), seeds.max() - means]
                axes.errorbar(places, means, bars, marker="o", markersize=4, label=name, **style)
            axes.set(xscale="log", ylim=(0, None), title=_title(setting))
            axes.set_xticks(widths, [str(width) for width in widths])
            axes.minorticks_off()
        figure.supxlabel("width")
        figure.supylabel("S (nats)")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(styles))
    return figure


def draw_curves(runs: pd.DataFrame) -> Figure:
    """Loss against learning rate, one row per pair of stabilizers and one column per width."""
    rows, widths = list(runs.groupby(SETTING, sort=False)), list(runs["width"].unique())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(6.4, 3.2 * len(widths)), 0.5 + 2.4 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), len(widths), sharex=True, sharey=True, squeeze=False)
        for panels, (setting, row) in zip(grid, rows, strict=True):
            for axes, width in zip(panels, widths, strict=True):
                _draw_losses(axes, row[row["width"] == width])
                axes.set(title=f"width {width}\n{_title(setting)}", xscale="log")
        figure.supxlabel("learning rate")
        figure.supylabel("validation loss (nats)")
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=len(handles[1]))
    return figure


def _draw_losses(axes: Axes, panel: pd.DataFrame) -> None:
    for name, style in line_styles(list(panel["activation"].unique())).items():
        by_rate = panel[panel["activation"] == name].groupby("learning_rate")
        means, diverged = by_rate["loss"].mean(), by_rate["diverged"].any()
        axes.plot(means.index, means, marker=".", label=name, **style)
        axes.plot(means.index[diverged], means[diverged], "x", color=style["color"], markersize=8)


def _title(setting: tuple[Any, ...]) -> str:
    used = [field.replace("_", "-") for field, value in zip(SETTING, setting, strict=True) if value]
    return " and ".join(used) or "neither qk-norm nor z-loss"


study = LearningRateSensitivity()
