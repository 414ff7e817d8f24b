"""After an int8 regression: keep norm and activation, swap the activation, the norm, or both?

Command:  ablations study quantization --budget short
Cost:     282 s of processor time (short), 3 minutes of 2 otherwise idle CPU cores (estimated): 32 runs in 4 cells, and
          168 evaluations of quantized networks. Full: 20 runs of 65 million tokens, an hour on a GPU (not measured)
Expected: weight-only int8 hardly depends on outliers of activations, so it costs nothing with any norm or activation
          (within the margin of 0.001 nats, chosen before the runs), and the question's premise fails; int8 inputs with
          one step per tensor cost more with SwiGLU, whose hidden values are products with heavy tails, and the norm
          hardly matters; W4A4 by rounding to nearest breaks the network (perplexity 23.6 -> 1727 in a SwiGLU network of
          300 million parameters, one seed: arXiv:2604.18128), and once the readers of the residual stream are kept in
          float, the input of the down projection dominates the rest

A network with RMSNorm and SwiGLU is to be served in int8. The options are to keep both, or to train it with GELU, with
LayerNorm, or with both. Each is trained with the same seeds, and quantized by every recipe of
`lab.surgery.quantization.RECIPES`, also with each site kept in float (fake quantization in float32, calibrated on
training text). What decides is the difference in what the recipe costs; beside it, the difference in the loss that is
served.
Short: d_model 64, 2 layers, seeds 0 to 7, 500 steps of 8 windows of 64 bytes of the standard library's source; 360
windows of test text. Full: d_model 512, 8 layers, seeds 0 to 4, 4,000 steps of 64 windows of 256.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lab.comparison.networks.quantization import MARGIN, contrasts, recipes
from lab.experiment.budget import Budget
from lab.experiment.experiment import Cell, Experiment
from lab.experiment.study import Evaluate, Findings
from lab.report.networks import quantization as report
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.runner.networks.quantization import Text, batches_of, measured
from lab.statistics.paired import paired_t
from lab.surgery.quantization import RECIPES
from lab.tasks.language import CausalLanguage
from lab.training.settings import Settings
from models.transformer import Transformer

KEPT = {"activation": "swiglu", "norm": "rmsnorm"}
OPTIONS = {
    "swap the activation": {"activation": "gelu", "norm": "rmsnorm"},
    "swap the norm": {"activation": "swiglu", "norm": "layernorm"},
    "swap both": {"activation": "gelu", "norm": "layernorm"},
}
INSTEAD = {option: ((1.0, fields), (-1.0, KEPT)) for option, fields in OPTIONS.items()}
ACTIVATION, NORM, BOTH = OPTIONS.values()
EFFECTS = {
    "activation": ((0.5, ACTIVATION), (0.5, BOTH), (-0.5, KEPT), (-0.5, NORM)),
    "norm": ((0.5, NORM), (0.5, BOTH), (-0.5, KEPT), (-0.5, ACTIVATION)),
    "interaction": ((1.0, BOTH), (1.0, KEPT), (-1.0, ACTIVATION), (-1.0, NORM)),
}
"""Effects of GELU in place of SwiGLU, of LayerNorm in place of RMSNorm, each the mean over the other field, and what
both together do beyond the sum."""
INT8 = ("w8", "w8a8", "w8a8_tensor", "smoothquant")
SMOKE = ("w8", "w4a4")


@dataclass(frozen=True)
class QuantizationStudy:
    """Two norms and two activations, trained, then quantized."""

    name: str = "quantization"
    question: str = "After an int8 regression: keep norm and activation, swap the activation, the norm, or both?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The four networks."""
        smoke, full = budget == "smoke", budget == "full"
        context = 256 if full else 64
        model = Transformer(context=context, d_model=64, n_layers=2, n_heads=4, positions="rotary", bias=False)
        settings = Settings(steps=10 if smoke else 500, batch_size=8, final_evaluation=0.06)
        if full:
            model = model.clone(d_model=512, n_layers=8, n_heads=8)
            settings = Settings(steps=4000, batch_size=64, final_evaluation=0.01)
        return (
            Experiment(
                name="trained",
                question="What do the networks learn before they are quantized?",
                task=CausalLanguage(data="stdlib", context=context),
                model=model.clone(initialization="lecun"),
                activations=("gelu", "swiglu"),
                axes=(("model.norm", ("layernorm", "rmsnorm")),),
                seeds=tuple(range(2 if smoke else 5 if full else 8)),
                settings=settings,
                learning_rates=(1e-3 if full else 3e-3,),
            ),
        )

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """The losses of every network with every recipe, and what its layers read."""
        asked = SMOKE if budget == "smoke" else tuple(RECIPES)

        def of_cell(cell: Cell, networks: Mapping[int, Any], arrays: Any) -> dict[str, pd.DataFrame]:
            params = {seed: variables["params"] for seed, variables in networks.items()}
            text = Text(cell.task, arrays["train"], batches_of(cell.task, arrays["test"], cell.settings))
            return measured(cell.model, params, text, asked)._asdict()

        (experiment,) = self.experiments(budget)
        return evaluate.cells(experiment, of_cell)

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """Whether int8 weights cost anything, which option costs less, and where W4A4 breaks."""
        rows, inputs = measured["rows"], measured["inputs"]
        costs, served = (contrasts(rows, INSTEAD, value) for value in ("difference", "loss"))
        found = report.sections(rows, inputs, MARGIN)
        table = costs.merge(
            served[["recipe", "contrast", "difference", "low", "high", "verdict"]],
            on=["recipe", "contrast"],
            suffixes=("", "_served"),
        )
        options = Section(
            "Options instead of RMSNorm and SwiGLU",
            table=table,
            notes=(
                "difference: in what the recipe costs, option minus RMSNorm and SwiGLU, in nats, paired by seed; "
                "better: the option loses less by quantization. served: in the loss of the quantized networks. Each is "
                f"one family of recipes and options; equivalent means within {MARGIN:g} nats",
            ),
        )
        effects = Section(
            "Effects of activation and norm on what a recipe costs",
            table=contrasts(rows, EFFECTS),
            notes=(
                "GELU in place of SwiGLU and LayerNorm in place of RMSNorm, each the mean over the other, in nats, "
                "paired by seed; interaction: what both do beyond the sum. One family of its own",
            ),
        )
        verdicts = read(rows, table, served)
        return Findings(verdicts, {"options": options, "effects": effects, **found})


def read(rows: pd.DataFrame, options: pd.DataFrame, served: pd.DataFrame) -> tuple[Verdict, ...]:
    """All verdicts, from the measured rows, the options' costs and the losses that they serve."""
    asked = [name for name in INT8 if name in set(rows["recipe"])]
    return (
        weights_alone(recipes(rows)),
        *(choice(name, options[options["recipe"] == name]) for name in asked),
        lower_loss(served[served["recipe"].isin(asked)]),
        *down_projection(rows),
    )


def weights_alone(table: pd.DataFrame) -> Verdict:
    """Whether weight-only int8 costs any of the four networks more than the margin."""
    claim = f"int8 weights cost nothing (within {MARGIN:g} nats) with any norm and activation"
    own = table[table["recipe"] == "w8"]
    largest = max(own.to_dict("records"), key=lambda row: abs(row["difference"]))
    words = (
        f"largest difference {largest['difference']:+.2g} nats ({largest['activation']}, {largest['norm']}; 95 % "
        f"interval {largest['low']:+.2g} to {largest['high']:+.2g}, n = {largest['n']}); "
        f"{(own['verdict'] == 'equivalent').sum()} of {len(own)} arms equivalent"
    )
    if (own["verdict"] == "equivalent").all():
        return Verdict(claim, "yes", words)
    return Verdict(claim, "no" if (own["low"] > MARGIN).any() else "inconclusive", words)


def choice(recipe: str, table: pd.DataFrame) -> Verdict:
    """What to do if a recipe is to cost less: the options that are better, or keep both if none can be."""
    claim = f"{recipe}: which option costs less than RMSNorm with SwiGLU"
    words = "; ".join(
        f"{row['contrast']} {row['difference']:+.2g} ({row['low']:+.2g} to {row['high']:+.2g}), {row['verdict']}"
        for row in table.to_dict("records")
    )
    better = table[table["verdict"] == "better"]
    settled = table["verdict"].isin(["equivalent", "worse"]).all()
    outcome = ", ".join(better["contrast"]) if len(better) else "keep both" if settled else "inconclusive"
    return Verdict(claim, outcome, f"{words}; nats, n = {table['n'].min()}")


def lower_loss(table: pd.DataFrame) -> Verdict:
    """Whether an option serves a lower loss in int8, whatever its quantization costs."""
    claim = "an option serves a lower loss in int8 than RMSNorm with SwiGLU"
    parts = []
    for option, rows in table.groupby("contrast", sort=False):
        words = f"{rows['difference'].min():+.2g} to {rows['difference'].max():+.2g} nats"
        parts.append(f"{option} {words}, {', '.join(dict.fromkeys(rows['verdict']))}")
    reason = f"{'; '.join(parts)}; means of {table['recipe'].nunique()} recipes, n = {table['n'].min()}"
    if (better := list(dict.fromkeys(table.loc[table["verdict"] == "better", "contrast"]))) != []:
        return Verdict(claim, ", ".join(better), reason)
    return Verdict(claim, "no" if table["verdict"].isin(["worse", "equivalent"]).all() else "inconclusive", reason)


def down_projection(rows: pd.DataFrame) -> list[Verdict]:
    """Whether keeping the input of the down projection saves more of W4A4's cost than keeping that of the output
    projection: the two sites that remain once all readers of the residual stream are kept."""
    own = rows[(rows["recipe"] == "w4a4") & (rows["activation"] == KEPT["activation"]) & (rows["norm"] == KEPT["norm"])]
    if own.empty:
        return []
    by_site = own.pivot_table(index="seed", columns="kept", values="difference").dropna()  # a loss may not be finite
    more = by_site["attention_values"] - by_site["feedforward_hidden"]
    t = paired_t(more.to_numpy())
    means = by_site.mean()
    claim = "W4A4: of what is not the residual stream, the input of the down projection costs most"
    words = (
        f"RMSNorm with SwiGLU loses {means['']:+.3g} nats, {means['residual']:+.3g} with the readers of the residual "
        f"stream in float; "
        f"keeping feedforward_hidden saves {t.mean:+.3g} more than keeping attention_values "
        f"({t.low:+.3g} to {t.high:+.3g}, n = {len(more)})"
    )
    resolved = np.isfinite(t.low) and (t.low > 0 or t.high < 0)
    return [Verdict(claim, ("yes" if t.low > 0 else "no") if resolved else "inconclusive", words)]


study = QuantizationStudy()
