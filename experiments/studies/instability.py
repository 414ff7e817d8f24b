"""Instability: norm and activation changed together and training became unstable; which of the two is it, and why?

Command:  ablations study instability --budget short
Cost:     about 520 s of processor time (short) on 2 cores of an AMD EPYC, 35 minutes as these were shared: 792 runs
          in 22 cells. Full: not run
Expected: post-norm tolerates smaller rates than pre-norm (Xiong et al. 2020, arXiv:2002.04745), qk-norm larger ones,
          since attention logits then cannot grow (Wortsman et al. 2023, arXiv:2309.14322), and without norms training
          diverges early. Whether RMSNorm or SwiGLU lowers the largest stable rate is not known; SwiGLU's product of
          two projections may grow faster than GELU's output

(1) The largest stable learning rate of LayerNorm and RMSNorm times GELU and SwiGLU, of every seed, by bisection
(`lab.runner.stability.stable_rates`). A run is stable if no loss or gradient was infinite or nan, no training loss was
a spike (6 standard deviations above the mean of the 128 before it, as in OLMo-core), and it ends below the entropy of
single bytes (unigram), which a network that ignores its context can reach. An arm is stable at a rate if at least
`SHARE` of its seeds are. Once with AdamW and gradients clipped at a norm of 1, which bound the step that an unstable
network makes, and once with SGD with momentum and no clipping, which do not. The rate rises linearly over three
quarters of the steps, so that it passes the limit when there are 128 losses to compare with, and stays at its peak.
Controls, with AdamW: post-norm, qk-norm and no norm.
(2) What telemetry shows before the first spike or divergence, in runs at most a factor of `NEAR` from the largest
stable rate of their seed: growth over the last 64 steps, and how well each quantity tells runs that will be unstable
from those that will not be, so many steps ahead (AUC).
(3) Warm restarts of networks of the four arms that were trained at one rate with a cosine: the rate returns to its
peak, with or without a warmup, and the optimizer's moments are kept or reset.

Short: width 32, 2 layers, six seeds, 256 steps of 8 windows of 32 bytes of the standard library's source, 8 rounds (1,
2); 300 steps, restarted for 120 (3). Full: width 256, 6 layers, eight seeds, 4,000 steps of 32 windows of 256 bytes of
English novels; restarts of 1,000 steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lab.comparison.networks.instability import SHARE
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.experiment.study import Evaluate, Findings
from lab.report.networks import early_warning, restarts, stable_rates
from lab.report.networks.early_warning import LEADS, NEAR
from lab.report.networks.stable_rates import LEVEL
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.runner.stability.restarts import Restart
from lab.runner.stability.stable_rates import Search
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

NORMS, ACTIVATIONS = ("layernorm", "rmsnorm"), ("gelu", "swiglu")
TABLES = ("thresholds", "runs", "looks", "programs")


class Size(NamedTuple):
    """What a budget trains."""

    task: CausalLanguage
    model: Transformer
    seeds: tuple[int, ...]
    settings: Settings
    search: Search
    restart: Restart
    rate: float
    """Peak learning rate of the networks that are restarted."""


def _size(budget: Budget) -> Size:
    smoke, full = budget == "smoke", budget == "full"
    context = 256 if full else 32
    steps = 4_000 if full else 24 if smoke else 256
    model = Transformer(
        context=context,
        d_model=256 if full else 16 if smoke else 32,
        n_layers=6 if full else 1 if smoke else 2,
        n_heads=4 if full else 2,
        positions="rotary",
        bias=False,
        tied=False,
        initialization="lecun",
    )
    return Size(
        CausalLanguage("eltec_eng" if full else "stdlib", context, evaluation_windows=64 if full else 32),
        model,
        tuple(range(8 if full else 2 if smoke else 6)),
        Settings(
            steps=steps,
            batch_size=32 if full else 4 if smoke else 8,
            schedule="constant",
            warmup_steps=3 * steps // 4,
            evaluate_every=8,  # as events are dated by evaluations, and `LEADS` are multiples of it
            final_evaluation=0.0,
            checkpoint_every=steps,
        ),
        Search(0.003 if full else 0.01, 8.0, 1 if smoke else 6),
        Restart(1_000, 20) if full else Restart(16, 4) if smoke else Restart(120, 4),
        1e-3 if full else 1e-2,
    )


@dataclass(frozen=True)
class Instability:
    """Largest stable rates, early warnings, and warm restarts of two norms times two activations."""

    name: str = "instability"
    question: str = (
        "We changed norm and activation together and training became unstable: which of the two is it, and why?"
    )

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The networks that are restarted."""
        size = _size(budget)
        steps = 4_000 if budget == "full" else 24 if budget == "smoke" else 300
        settings = Settings(steps=steps, batch_size=size.settings.batch_size)
        restarted = Experiment(
            name="restarted",
            question="Which loss do the four networks reach at one learning rate?",
            task=size.task,
            model=size.model,
            activations=ACTIVATIONS,
            axes=(("model.norm", NORMS),),
            seeds=size.seeds,
            settings=settings,
            learning_rates=(size.rate,),
        )
        return (restarted,)

    def searched(self, budget: Budget) -> tuple[Experiment, ...]:
        """The experiments whose largest stable rates are searched: two optimizers, and the controls."""
        size, (base,) = _size(budget), self.experiments(budget)
        adamw = replace(
            base,
            name="adamw",
            question="How large a learning rate is stable with AdamW?",
            settings=size.settings,
            hyperparameters=Hyperparameters(weight_decay=0.0),
        )
        sgd = replace(
            adamw,
            name="sgd",
            question="How large a learning rate is stable with SGD without clipping?",
            settings=replace(size.settings, optimizer="sgd"),
            hyperparameters=Hyperparameters(weight_decay=0.0, clip_norm=np.inf),
        )
        controls: dict[str, dict[str, Any]] = {
            "post_norm": {"placement": "post"},
            "qk_norm": {"qk_norm": True},
            "no_norm": {"norm": "none"},
        }
        others = [
            replace(
                adamw,
                name=name,
                question=f"How large a learning rate is stable with {name.replace('_', ' ')}?",
                model=replace(size.model, **{"norm": NORMS[0], **change}),
                axes=(),
            )
            for name, change in controls.items()
        ]
        return (adamw, others[-1]) if budget == "smoke" else (adamw, sgd, *others)  # compiling takes the time

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Thresholds, runs, looks and programs of all searches, and the losses after restarts."""
        size, (base,) = _size(budget), self.experiments(budget)
        found: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
        for one in self.searched(budget):
            rates = evaluate.stable_rates(one, size.search)
            norm = {} if one.axes else {"norm": one.model.norm}
            for name, parts in found.items():
                parts.append(getattr(rates, name).assign(setting=one.name, **norm))
        tables = {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}
        return {**tables, "restarts": evaluate.restarts(base, size.restart)}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """Which change it is, what warns of it, and what a restart costs."""
        thresholds, runs = measured["thresholds"], measured["runs"]
        table = stable_rates.summary(thresholds, runs)
        effects, controls = stable_rates.effects(thresholds), stable_rates.controls(thresholds)
        near = early_warning.near_limit(runs, thresholds)
        warned, grown = early_warning.table(near, measured["looks"]), early_warning.growth(near, measured["looks"])
        again = restarts.of_runs(measured["restarts"])
        return Findings(
            (
                stable_rates.which(effects),
                stable_rates.why(controls),
                *early_warning.grows(grown),
                *early_warning.verdicts(warned),
                *restarts.verdicts(restarts.effects(again)),
            ),
            {
                "rates": Section(
                    "The largest stable learning rate",
                    stable_rates.draw(thresholds),
                    table,
                    (
                        "Dots are seeds, each with its own bracket, whose ends are a factor of "
                        f"{width(thresholds):.2f} apart; bars are the geometric mean with its t interval of level "
                        f"{LEVEL:.0%}",
                        "rate, low, high: the same; at_share: the rate up to which "
                        f"{SHARE:.0%} of the seeds were stable; ratio: to layernorm with gelu of the same setting, "
                        "paired by seed, intervals not corrected; censored: seeds whose rate lies outside of those "
                        "that were tried, counted at the end of the range",
                        "not finite, spike, loss: runs of the search by what happened first; spikes: of all runs "
                        "together",
                    ),
                ),
                "effects": Section(
                    "Norm, activation, or both together?",
                    table=effects,
                    notes=(
                        "both: the ratio of the largest stable rate of rmsnorm with swiglu to that of layernorm with "
                        "gelu; norm: of rmsnorm to layernorm, mean over the activations; activation: of swiglu to "
                        "gelu, mean over the norms; interaction: by how much the effect of the norm depends on the "
                        "activation. Paired by seed, t intervals; p by Holm's method over the table. detectable: the "
                        "ratio that so many seeds would have detected with a power of 80 %; censored: seeds with a "
                        "rate outside of those that were tried",
                    ),
                ),
                "controls": Section(
                    "Controls: post-norm, qk-norm, no norm",
                    table=controls,
                    notes=(
                        "ratio: of the largest stable rate to that of pre-norm layernorm with the same activation and "
                        "AdamW, paired by seed; p by Holm's method over the table",
                    ),
                ),
                "warning": Section(
                    "Which quantity warns earliest?",
                    early_warning.draw(warned),
                    warned,
                    (
                        "AUC: the probability that a run that will spike or diverge so many steps later has a "
                        "larger value than a stable run of the same arm at the same step; 0.5 is chance, below it the "
                        f"value is smaller before an event. Intervals of level {LEVEL:.0%} by bootstrap over the seeds "
                        "of every arm, with all runs of a seed drawn together. Runs are those within a factor of "
                        f"{NEAR:g} of their seed's limit",
                        "auc: over all pairs, in which the learning rate itself, known without telemetry, tells most; "
                        "beyond, and the figure: over pairs of the same rate, runs of two seeds; p by Holm's method "
                        "over the quantities and leads of an optimizer; cases: unstable runs in such pairs",
                    ),
                ),
                "growth": Section(
                    "What grows before the first spike or divergence",
                    early_warning.draw_growth(near, measured["looks"]),
                    grown,
                    (
                        f"Growth from {LEADS[-1]} to {LEADS[0]} steps before the event: geometric means of the "
                        "unstable runs, of the stable runs of their arm at the same steps, and the ratio of both with "
                        "its t interval over the seeds of every arm. The figure has the ratio to the stable runs, step "
                        "by step",
                    ),
                ),
                "restarts": Section(
                    "Warm restarts",
                    restarts.draw(measured["restarts"]),
                    restarts.summary(again),
                    (
                        "rise: the largest validation loss after the restart minus that before, in nats; back: median "
                        "number of steps after which the loss was as low again, later ones left out if it never was; "
                        "returned: seeds in which it was. t intervals over seeds",
                    ),
                ),
                "restart_effects": Section(
                    "What keeping the optimizer's state and a warmup change",
                    table=restarts.effects(again),
                    notes=(
                        "Differences of the rise in nats, and of the steps until it was gone (runs that did not return "
                        "count with all steps), paired by seed, means over all else; the last rows compare the arms. t "
                        "intervals, p by Holm's method over the column",
                    ),
                ),
                "programs": Section(
                    "One program per arm",
                    table=measured["programs"],
                    notes=(
                        "rounds of the search, runs trained in them, and programs compiled for all rounds together",
                    ),
                ),
                "limits": Section(
                    "Limits",
                    notes=(
                        "Small networks, a few hundred steps, bytes: instabilities that take long training or large "
                        "networks to appear are not seen here",
                        "A ramp of the rate over three quarters of the steps is not how networks are trained; the "
                        "largest stable peak after a short warmup may be another",
                        "A threshold is one of bisection: where stability is not monotone in the rate, it is one of "
                        "several",
                        "With AdamW, most unstable runs do not explode but stop learning; their event is dated by when "
                        "the loss stayed above that of single bytes",
                    ),
                ),
            },
        )


def width(thresholds: pd.DataFrame) -> float:
    """The ratio of the ends of a bracket that is not censored; nan if all are."""
    ratios = thresholds["high"] / thresholds["low"]
    return float(ratios[np.isfinite(ratios)].median())


study = Instability()
