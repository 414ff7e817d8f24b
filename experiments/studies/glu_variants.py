"""Do gated feed-forward layers beat plain ones, and in the order that Shazeer (2020) found?

Command:  ablations study glu_variants --budget short
Cost:     357 s of processor time (short) on an AMD EPYC, 4 minutes of 2 cores; about 12 on a Xeon of 2.5 GHz: 256 runs
          and 32 programs. Full: computed 2e20 FLOPs, three weeks on a GPU that sustains 1e14 FLOP/s (not measured)
Expected: gated layers better than plain ones as a group, SwiGLU and GEGLU better than GLU; the plain ReLU, GELU and
          Swish too close to distinguish. After 524,288 steps the paper has one run each

Table 1 of "GLU Variants Improve Transformer" (arXiv:2002.05202): T5-base with eight feed-forward layers of equal
parameter count (3072 wide, gated ones 2048), no biases, no dropout, log-perplexity on the span-filling objective. The
paper's GELU is the tanh approximation (mtf.gelu), and so is the gate of its GEGLU: gelu_tanh and gelu_tanh_glu here.
Besides its encoder-decoder with Adafactor, a decoder with the same conventions (relative positions, RMSNorm, no
biases) is trained with AdamW.

The rate rises linearly, then decays with the inverse square root of the step, and is also multiplied by a linear decay
to zero over the last tenth of the steps. The warmup is the same fraction as the paper's 10,000 of 65,536 steps with
constant rate. Adafactor's rate is relative to the size of each parameter, 0.01 in the paper; it clips its own updates
and uses no weight decay. Each arm has the rate of the grid that is best on separate seeds. The grids of the short
budget were extended after a first run in which all arms had chosen the largest rate: Adafactor's had ended at 0.1,
AdamW's at 0.03 and then at 0.1.

Smoke: relu, gelu_tanh and swiglu in the encoder-decoder, 16 wide, 1 layer, 2 seeds, one rate. Short: all eight, 32
wide, 1 layer (encoder and decoder each), seeds 0 to 7, four rates by two seeds, 320 steps of 16 windows of 64 bytes of
Python's library. Full: T5-base's shape, both optimizers with both architectures, seeds 0 to 3, four rates by one seed,
16,384 steps of 128 examples of 512 + 114 tokens (the decoder 512) with a vocabulary of 32,000: a quarter of the paper's
shorter training, since the text is 1 GiB of books and is read five times even so.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.comparison import tuning
from lab.comparison.outcomes import outcomes
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment, Tuning
from lab.experiment.study import Evaluate, Findings
from lab.report.figures import INK, STYLE, colour, is_gated
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.statistics.arms.ranking import rank_correlation
from lab.statistics.paired import holm, paired_difference, paired_t
from lab.tasks.language import CausalLanguage
from lab.tasks.spans import SpanCorruption
from lab.training.settings import Hyperparameters, Optimizer, Settings
from models.families import T5
from models.transformer import EncoderDecoder, Transformer

PAPER = pd.DataFrame(
    [
        ("relu", "ReLU", 1.997, 0.005, 1.677),
        ("gelu_tanh", "GELU", 1.983, 0.005, 1.679),
        ("silu", "Swish", 1.994, 0.003, 1.683),
        ("glu", "GLU", 1.982, 0.006, 1.663),
        ("bilinear", "Bilinear", 1.960, 0.005, 1.648),
        ("gelu_tanh_glu", "GEGLU", 1.942, 0.004, 1.633),
        ("swiglu", "SwiGLU", 1.944, 0.010, 1.636),
        ("reglu", "ReGLU", 1.953, 0.003, 1.645),
    ],
    columns=["activation", "paper's name", "65,536 steps", "sd", "524,288 steps"],
).set_index("activation")
"""Table 1: log-perplexity on held-out text; for the shorter training, the mean and sd of four runs."""
RUNS = 4
BASELINE = "relu"
LEVEL = 0.95

ARCHITECTURES = {"encoder_decoder": EncoderDecoder, "decoder": Transformer}
COMBINATIONS: dict[Budget, tuple[tuple[str, Optimizer], ...]] = {
    "smoke": (("encoder_decoder", "adafactor"),),
    "short": (("encoder_decoder", "adafactor"), ("decoder", "adamw")),
    "full": tuple((one, rule) for one in ARCHITECTURES for rule in ("adafactor", "adamw")),
}
TEXT: dict[Budget, dict[str, Any]] = {
    "smoke": {"data": "stdlib", "evaluation_windows": 32},
    "short": {"data": "stdlib", "evaluation_windows": 256},
    "full": {"data": "pg19", "tokenizer": "bpe", "vocabulary": 32_000, "evaluation_windows": 1024},
}
CONTEXT: dict[Budget, dict[str, int]] = {
    "smoke": {"encoder_decoder": 32, "decoder": 32},
    "short": {"encoder_decoder": 64, "decoder": 64},
    "full": {"encoder_decoder": 568, "decoder": 512},  # 568 tokens become 512 and 114, the paper's
}
SHAPE: dict[Budget, dict[str, Any]] = {
    "smoke": {"d_model": 16, "n_layers": 1, "n_heads": 2, "head_dim": 8},
    "short": {"d_model": 32, "n_layers": 1, "n_heads": 2, "head_dim": 16},
    "full": {"d_model": 768, "n_layers": 12, "n_heads": 12, "dtype": "bfloat16"},
}
STEPS: dict[Budget, int] = {"smoke": 40, "short": 320, "full": 16_384}
BATCH: dict[Budget, int] = {"smoke": 8, "short": 16, "full": 128}
SEEDS: dict[Budget, int] = {"smoke": 2, "short": 8, "full": RUNS}
TUNING_SEEDS: dict[Budget, tuple[int, ...]] = {"short": (1000, 1001), "full": (1000,)}
WARMUP = 10_000 / 65_536
SMALL = (1e-2, 3e-2, 1e-1, 3e-1)  # networks 32 wide trained for 320 steps need large ones
RATES: dict[Budget, dict[Optimizer, tuple[float, ...]]] = {
    "smoke": {},
    "short": {"adafactor": SMALL, "adamw": SMALL},
    "full": {"adafactor": (3e-3, 1e-2, 3e-2, 1e-1), "adamw": (3e-4, 1e-3, 3e-3, 1e-2)},
}
HYPERPARAMETERS = {
    "adafactor": Hyperparameters(learning_rate=3e-2, weight_decay=0.0, clip_norm=float("inf")),
    "adamw": Hyperparameters(learning_rate=1e-2),
}


@dataclass(frozen=True)
class GluVariants:
    """One experiment per architecture and optimizer, with the eight feed-forward layers of the paper."""

    name: str = "glu_variants"
    question: str = "Do gated feed-forward layers beat plain ones of equal size, and in the paper's order?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The combinations of the budget."""
        return tuple(self._experiment(budget, *combination) for combination in COMBINATIONS[budget])

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The paper's table beside ours, and whether order and differences agree."""
        losses = {words(name): last_losses(found) for name, found in results.items()}
        pairs = {name: pairwise(table) for name, table in losses.items()}
        return Findings(
            verdicts=tuple(
                verdict
                for name, table in losses.items()
                for verdict in (gating(name, table), order(name, table), resolved(name, pairs[name]))
            ),
            sections={
                "table_1": Section(
                    "Table 1, the paper's and ours",
                    scatter(losses),
                    beside(losses),
                    (
                        "bars: paired 95 % intervals for ours; for the paper 2 standard errors of a difference of "
                        f"means of {RUNS} runs, from its sd",
                        "losses are nats per token of different tasks: compare orders and differences, not levels",
                        *rates(results),
                    ),
                ),
                **{
                    f"pairs_{name.replace(' ', '_')}": Section(
                        f"Which differences are resolved: {name}",
                        table=table,
                        notes=(
                            "the paper's: larger than 2 standard errors, from its sd of four runs; ours: Holm's p of "
                            f"the paired t test over all {len(table)} pairs below 0.05",
                        ),
                    )
                    for name, table in pairs.items()
                },
            },
        )

    def _experiment(self, budget: Budget, architecture: str, optimizer: Optimizer) -> Experiment:
        context = CONTEXT[budget][architecture]
        kind = SpanCorruption if architecture == "encoder_decoder" else CausalLanguage
        task = kind(context=context, **TEXT[budget])
        fields = {**T5, **SHAPE[budget], "vocab_size": task.vocab_size, "context": context}
        steps, tried = STEPS[budget], RATES[budget].get(optimizer)
        return Experiment(
            name=f"{self.name}-{architecture}-{optimizer}",
            question=f"Which feed-forward layer is best in an {architecture.replace('_', '-')} with {optimizer}?",
            task=task,
            model=ARCHITECTURES[architecture](**fields),
            activations=("relu", "gelu_tanh", "swiglu") if budget == "smoke" else tuple(PAPER.index),
            baseline=BASELINE,
            seeds=tuple(range(SEEDS[budget])),
            learning_rates=() if tried else (HYPERPARAMETERS[optimizer].learning_rate,),
            tuning=Tuning(tried, seeds=TUNING_SEEDS[budget]) if tried else Tuning(),
            settings=Settings(
                steps=steps,
                batch_size=BATCH[budget],
                optimizer=optimizer,
                schedule="inverse_sqrt",
                warmup_steps=round(WARMUP * steps),
                decay_steps=steps // 10,
            ),
            hyperparameters=HYPERPARAMETERS[optimizer],
        )


def words(name: str) -> str:
    """The architecture and optimizer of an experiment: `decoder adamw`."""
    return name.partition("-")[2].replace("-", " ").replace("_", "-")


def last_losses(found: Results) -> pd.DataFrame:
    """Validation loss at the last step: one row per activation, in the paper's order, one column per common seed."""
    ends = outcomes(found.rows, "loss", "validation", int(found.experiment["steps"]))
    table = ends.pivot_table(index="activation", columns="seed", values="value").dropna(axis="columns")
    return table.loc[[name for name in PAPER.index if name in table.index]]


def beside(losses: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The paper's table with mean, sd and n of each of our experiments."""
    table = PAPER.copy()
    for name, ours in losses.items():
        table[name] = ours.mean(axis=1)
        table[f"{name}, sd"] = ours.std(axis=1)
        table[f"{name}, n"] = float(ours.shape[1])
    return table.dropna().reset_index()


def gating(name: str, ours: pd.DataFrame) -> Verdict:
    """Whether the mean of the gated arms is below that of the plain ones, paired by seed."""
    claim = f"{name}: gated layers beat plain ones as a group"
    gated = are_gated(ours)
    found = paired_difference(ours[gated].mean(), ours[~gated].mean(), LEVEL)
    if found.n < 2:
        return Verdict(claim, "no verdict", f"difference {found.mean:+.4f} of one seed; an interval needs two")
    outcome = "yes" if found.high < 0 else "no, higher" if found.low > 0 else "inconclusive"
    reason = f"difference {found.mean:+.4f} nats (95 % interval {found.low:+.4f} to {found.high:+.4f}, n = {found.n})"
    return Verdict(claim, outcome, f"{reason}, {gated.sum()} gated against {(~gated).sum()} plain; {group_of_paper()}")


def are_gated(table: pd.DataFrame) -> Bool[np.ndarray, " activations"]:
    """Which rows of a table are gated activations."""
    return np.array([is_gated(str(name)) for name in table.index])


def group_of_paper() -> str:
    """The same difference in the paper."""
    gated = are_gated(PAPER)
    means = [
        PAPER.loc[gated, column].mean() - PAPER.loc[~gated, column].mean()
        for column in ("65,536 steps", "524,288 steps")
    ]
    return f"the paper's {means[0]:+.3f} after 65,536 steps and {means[1]:+.3f} after 524,288"


def order(name: str, ours: pd.DataFrame) -> Verdict:
    """Whether our order is the paper's, by the rank correlation of means."""
    claim = f"{name}: the paper's order"
    short, long = (
        rank_correlation(ours.to_numpy(), PAPER.loc[ours.index, [column]].to_numpy())
        for column in ("65,536 steps", "524,288 steps")
    )
    reason = (
        f"Spearman {short.value:+.2f} with the paper's 65,536 steps (p {short.p_value:.2g} if the ranks had nothing in "
        f"common), {long.value:+.2f} with its 524,288; {len(ours)} arms, n = {ours.shape[1]}"
    )
    if ours.shape[1] < 2:
        return Verdict(claim, "no verdict", reason)
    outcome = "inconclusive" if short.p_value >= 1 - LEVEL else "yes" if short.value > 0 else "no"
    return Verdict(claim, outcome, reason)


def pairwise(ours: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of arms: the paper's difference and whether it is resolved, ours with interval, p and verdict.

    The paper's difference is resolved if it exceeds 2 standard errors, ours if Holm's p over all pairs is below 0.05.
    Differences are first minus second.
    """
    first, second = map(list, zip(*itertools.combinations(ours.index, 2), strict=True))
    found = paired_t(ours.loc[first].to_numpy() - ours.loc[second].to_numpy(), LEVEL)
    published, error = published_difference(first, second)
    p = holm(found.p_value)
    same = np.sign(found.mean) == np.sign(published)
    ours_resolved = np.nan_to_num(p, nan=1.0) < 1 - LEVEL
    return pd.DataFrame(
        {
            "first": first,
            "second": second,
            "paper": published,
            "resolved in the paper": np.abs(published) > 2 * error,
            "ours": found.mean,
            "low": found.low,
            "high": found.high,
            "p": p,
            "outcome": np.where(~ours_resolved, "inconclusive", np.where(same, "same", "opposite")),
        }
    )


def published_difference(
    first: list[str], second: list[str]
) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """The paper's first minus second after 65,536 steps, and the standard error: sds are of four runs."""
    one, other = PAPER.loc[first], PAPER.loc[second]
    difference = one["65,536 steps"].to_numpy() - other["65,536 steps"].to_numpy()
    return difference, np.hypot(one["sd"].to_numpy(), other["sd"].to_numpy()) / np.sqrt(RUNS)


def resolved(name: str, pairs: pd.DataFrame) -> Verdict:
    """How many of the paper's resolved differences our runs resolve, and in which direction."""
    known = pairs[pairs["resolved in the paper"]]
    counts = {outcome: int((known["outcome"] == outcome).sum()) for outcome in ("same", "opposite", "inconclusive")}
    of = len(known)
    reason = (
        f"of {of} pairs that the paper resolves, ours resolve {counts['same']} in the same direction and "
        f"{counts['opposite']} in the other, {counts['inconclusive']} not (Holm over {len(pairs)} pairs)"
    )
    outcome = "inconclusive"
    if counts["same"] == of:
        outcome = "reproduced"
    elif counts["opposite"] > counts["same"]:
        outcome = "not reproduced"
    elif 2 * counts["same"] >= of:
        outcome = "partly"
    return Verdict(f"{name}: the differences that the paper resolves", outcome if of else "no verdict", reason)


def rates(results: Mapping[str, Results]) -> list[str]:
    """The learning rate of each arm, and whether a better one may lie beyond the grid."""
    notes = []
    for name, found in results.items():
        chosen = found.rows.groupby("activation", sort=False)["learning_rate"].first()
        given = ", ".join(f"{arm} {rate:g}" for arm, rate in chosen.items())
        notes.append(f"{words(name)}, learning rates: {given}")
        if (search := found.tuning) is not None:
            notes += [f"{words(name)}, {warning}" for warning in tuning.warnings(tuning.tuned(search))]
    return notes


def scatter(losses: Mapping[str, pd.DataFrame]) -> Figure:
    """One pair of axes per experiment: differences to ReLU, the paper's on x and ours on y, with their intervals."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.0 * -(-len(losses) // 2)), layout="constrained")
        grid = figure.subplots(-(-len(losses) // 2), 2, squeeze=False).flat
        for axes, (name, ours) in zip(grid, losses.items(), strict=False):
            _differences(axes, ours)
            axes.set(title=f"{name}, n = {ours.shape[1]}", xlabel="the paper's difference to ReLU, 65,536 steps")
            axes.set_ylabel("our difference to ReLU (nats)")
        for axes in list(grid)[len(losses) :]:
            axes.set_visible(False)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(PAPER))
    return figure


def _differences(axes: Axes, ours: pd.DataFrame) -> None:
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axvline(0, color=INK, linewidth=0.8)
    for name in map(str, ours.index.drop(BASELINE)):
        found = paired_difference(ours.loc[name], ours.loc[BASELINE], LEVEL)
        theirs, error = published_difference([name], [BASELINE])
        half = found.high - found.mean if np.isfinite(found.high) else None
        axes.errorbar(theirs[0], found.mean, half, 2 * error[0], color=colour(name), linewidth=1.2)
        marker, label = "s" if is_gated(name) else "o", PAPER["paper's name"][name]
        axes.plot(theirs[0], found.mean, marker, color=colour(name), markersize=5, label=label)


study = GluVariants()
