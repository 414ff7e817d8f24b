"""Telemetry: what do layers read after LayerNorm and RMSNorm, and what do they write, with GELU and SwiGLU?

Command:  ablations study telemetry --budget short
Cost:     568 s of processor time (short): 30 runs in 6 cells. Full: computed, 30 runs of 82 million tokens
          and 25 million parameters, 4e17 FLOPs (not run)
Expected: textbook pages say of LayerNorm + GELU that the feed-forward layer reads a mean of 0 and writes 48 % negative
          values with mean 0, and of RMSNorm + SwiGLU that it reads a mean of +0.35 at RMS 1 and writes 8 % negative
          values with mean +0.60. Hidden vectors of large language models are nearly orthogonal to the all-ones vector
          (Gupta et al. 2024, arXiv:2409.12951), so the mean should be near 0 with both norms, and at initialization
          half of the outputs are negative whatever is read, as weights have mean 0

LayerNorm and RMSNorm times gelu and swiglu, and, as the causal arm, RMSNorm whose output is centred: if the mean that
RMSNorm lets through mattered, removing it would change the loss. Decoders without biases, so that the norms differ by
the centring alone. Quantities are means over the layers, on 32 windows of the test text, at initialization and after
training, with intervals over paired seeds; their course in training is that of the telemetry.
Short: d_model 64, 3 layers, seeds 0 to 4, 600 steps of 16 windows of 64 tokens of the standard library's source in
bytes. Full: d_model 512, 8 layers, 5,000 steps of 64 windows of 256 tokens of English novels in bytes.

The shift test adds c to every feature of the residual stream of the trained networks, with c a multiple of its
deviation sigma. In closed form LayerNorm's output does not change, and RMSNorm's has a mean of c / sqrt(c^2 + sigma^2)
at RMS 1. The same shift of all token embeddings leaves the predictions of a pre-LayerNorm network as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from lab.experiment.budget import Budget
from lab.experiment.experiment import Cell, Experiment
from lab.experiment.study import Evaluate, Findings
from lab.probes.telemetry import record
from lab.report.figures import DASHES, STYLE, colour
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.report.table import number
from lab.results.results import Results
from lab.statistics.paired import holm, paired_t
from lab.tasks.language import CausalLanguage
from lab.tasks.task import Stream, stream_key
from lab.training.settings import Run, Settings
from models.layers.block import Block
from models.layers.normalization import Norm
from models.layers.telemetry import direction
from models.transformer import Transformer

NORMS, ACTIVATIONS = ("layernorm", "rmsnorm", "centred_rmsnorm"), ("gelu", "swiglu")
ARM = ["norm", "activation"]
LEVEL = 0.95
WINDOWS = 32
QUANTITIES = {
    "input mean / RMS": ("feedforward/input", "mean_over_rms"),
    "input RMS": ("feedforward/input", "rms"),
    "preactivations positive": ("feedforward/preactivation", "share_positive"),
    "hidden values negative": ("feedforward/hidden", "share_negative"),
    "outputs negative": ("feedforward/output", "share_negative"),
    "output mean": ("feedforward/output", "mean"),
    "output std": ("feedforward/output", "std"),
    "output kurtosis": ("feedforward/output", "kurtosis"),
}
PUBLISHED = {
    ("layernorm", "gelu"): {"input mean / RMS": 0.0, "outputs negative": 0.48, "output mean": 0.0},
    ("rmsnorm", "swiglu"): {"input mean / RMS": 0.35, "outputs negative": 0.08, "output mean": 0.60},
}
CLOSE = 0.05
"""How far from a published number the whole interval may lie for "yes": the pages round to two digits at most."""
SHIFTS = (0.0, 0.374, 1.0)
"""c / sigma; .374 is the one at which RMSNorm's mean is the published +.35."""


@dataclass(frozen=True)
class Telemetry:
    """Three norms times two activations."""

    name = "telemetry"
    question = "What do feed-forward layers read and write, with LayerNorm and RMSNorm, GELU and SwiGLU?"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """One grid of norms and activations, with telemetry."""
        smoke, full = budget == "smoke", budget == "full"
        context, width = (256, 512) if full else (64, 64)
        n_layers = 8 if full else 1 if smoke else 3
        model = Transformer(
            context=context,
            d_model=width,
            n_layers=n_layers,
            n_heads=width // 16 if not full else 8,
            positions="rotary",
            bias=False,
            initialization="lecun",
        )
        norms = Experiment(
            name="norms",
            question="What do the layers read and write under every norm?",
            task=CausalLanguage(data="eltec_eng" if full else "stdlib", context=context),
            model=model,
            activations=ACTIVATIONS,
            axes=(("model.norm", NORMS),),
            seeds=(0, 1) if smoke else (0, 1, 2, 3, 4),
            telemetry=True,
            settings=Settings(steps=5_000 if full else 10 if smoke else 600, batch_size=64 if full else 16),
            learning_rates=(1e-3 if full else 6e-3,),
        )
        return (norms,)

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """The quantities of every network at initialization and trained, and the shift test."""
        (norms,) = self.experiments(budget)
        return {
            "quantities": evaluate(norms, lambda cell, run: True, quantities),
            "shifts": evaluate(norms, lambda cell, run: True, shifts),
        }

    def findings(self, results: Mapping[str, Results], measured: Mapping[str, pd.DataFrame]) -> Findings:
        """The pages' numbers beside ours, what centring changes, and the shift test."""
        found, losses = measured["quantities"], final_losses(results["norms"].rows)
        numbers, effects, shifted = summary(found), differences(found, losses), of_shifts(measured["shifts"])
        return Findings(
            (*published(numbers), halves(numbers), centring(effects), unchanged(shifted)),
            {
                "quantities": Section(
                    "What feed-forward layers read and write",
                    course(results["norms"].telemetry),
                    numbers,
                    (
                        "Lines: the telemetry in training, means over layers and seeds, bands from the lowest seed to "
                        "the highest. Table: means over the layers on test text, at initialization and trained, with "
                        f"the {LEVEL:.0%} interval of the trained mean over seeds, and the paired change",
                        "published: the textbook pages' numbers; empty if they give none",
                    ),
                ),
                "centring": Section(
                    "What centring changes",
                    table=effects,
                    notes=(
                        "Differences to rmsnorm with the same activation, trained, paired by seed, with their "
                        f"{LEVEL:.0%} intervals, not corrected for their number; loss is that of validation at the "
                        "last step, in nats",
                    ),
                ),
                "shifts": Section(
                    "The shift test",
                    table=shifted,
                    notes=(
                        "mean: the mean of the norm's output by its RMS, after c = shift x sigma was added to every "
                        "feature of a centred residual stream, beside its closed form; moved: the largest change of "
                        "any output; loss change: that of the network, in nats, when shift x the deviation of the "
                        "embeddings is added to all of them. Means over seeds",
                    ),
                ),
                "layers": Section("By layer", table=by_layer(found)),
            },
        )


def quantities(
    cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Rows of when (init or trained), layer, quantity and value of one network."""
    inputs = cell.task.inputs(_windows(cell, test))
    own = run.seed if cell.settings.init_seed is None else cell.settings.init_seed
    drawn = cell.model.init({"params": stream_key(own, Stream.INIT)}, *inputs)
    look = jax.jit(lambda variables: record(cell.model, variables, inputs))
    rows = []
    for when, one in (("init", drawn), ("trained", variables)):
        found = look(one)
        for quantity, place in QUANTITIES.items():
            values = {layer: value for (layer, *rest), value in found.items() if tuple(rest) == place}
            rows += [
                {"when": when, "layer": layer, "quantity": quantity, "value": float(value)}
                for layer, value in values.items()
            ]
    return rows


def shifts(cell: Cell, run: Run, variables: Mapping[str, Any], test: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rows of shift (c / sigma), mean, moved and loss of one trained network: see the notes of the section."""
    batch, model, variables = _windows(cell, test), cell.model, jax.tree.map(jnp.asarray, variables)
    params = variables["params"]
    inputs = cell.task.inputs(batch)

    def is_block(module: Any, method: str) -> bool:
        return method == "__call__" and isinstance(module, Block)

    _, sown = model.apply(variables, *inputs, capture_intermediates=is_block)
    stream = sown["intermediates"]["layer_0"]["__call__"][0]
    stream = stream - stream.mean(axis=-1, keepdims=True)
    sigma = stream.std(axis=-1, keepdims=True)
    norm = partial(Norm(model.norm, model.norm_epsilon, use_scale=False, use_bias=False).apply, {})

    @jax.jit
    def loss(shift: Any) -> Float[Array, ""]:
        table = params["token_embedding"]["embedding"]
        moved = {**params, "token_embedding": {"embedding": table + shift * table.std()}}
        total, weight = cell.task.metrics(model.apply({"params": moved}, *inputs), batch)["loss"]
        return total / weight

    before, rows = jnp.asarray(norm(stream)), []
    for shift in SHIFTS:
        after = jnp.asarray(norm(stream + jnp.broadcast_to(shift * sigma, stream.shape)))
        values = {
            "mean": direction(after)["mean_over_rms"],
            "moved": jnp.abs(after - before).max(),
            "loss": loss(shift),
        }
        rows.append({"shift": shift, **{name: float(value) for name, value in values.items()}})
    return rows


def _windows(cell: Cell, test: Mapping[str, np.ndarray]) -> dict[str, Array]:
    batches = cell.task.evaluation_batches(test, WINDOWS)
    return {name: jnp.asarray(field[0]) for name, field in batches.items()}


def final_losses(rows: pd.DataFrame) -> pd.DataFrame:
    """norm, activation, seed and value of the validation loss at the last step."""
    last = rows[(rows["split"] == "validation") & (rows["metric"] == "loss") & (rows["step"] == rows["step"].max())]
    return last[[*ARM, "seed", "value"]]


def _by_seed(found: pd.DataFrame, norm: str, activation: str, quantity: str, when: str) -> pd.Series:
    """The mean over layers of every seed of an arm."""
    arm = (found["norm"] == norm) & (found["activation"] == activation)
    chosen = found[arm & (found["quantity"] == quantity) & (found["when"] == when)]
    return chosen.groupby("seed")["value"].mean().sort_index()


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and quantity: published, init, trained with low and high, change with its ends, n."""
    rows = []
    for norm, activation in found[ARM].drop_duplicates().itertuples(index=False):
        for quantity in QUANTITIES:
            init, trained = (_by_seed(found, norm, activation, quantity, when) for when in ("init", "trained"))
            mean, change = paired_t(trained.to_numpy(), LEVEL), paired_t((trained - init).to_numpy(), LEVEL)
            rows.append(
                {
                    "norm": norm,
                    "activation": activation,
                    "quantity": quantity,
                    "published": PUBLISHED.get((norm, activation), {}).get(quantity, math.nan),
                    "init": float(init.mean()),
                    "trained": float(mean.mean),
                    "low": float(mean.low),
                    "high": float(mean.high),
                    "change": float(change.mean),
                    "change_low": float(change.low),
                    "change_high": float(change.high),
                    "n": len(trained),
                }
            )
    return pd.DataFrame(rows)


def differences(found: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """What the other norms differ by from rmsnorm: norm, activation, quantity, difference, low, high, p, n."""
    final = losses.assign(when="trained", quantity="loss")
    both = pd.concat([final, found], ignore_index=True)
    rows = []
    for norm in [name for name in NORMS if name != "rmsnorm" and name in set(found["norm"])]:
        for activation in dict.fromkeys(found["activation"]):
            for quantity in ("loss", *QUANTITIES):
                one, base = (_by_seed(both, name, activation, quantity, "trained") for name in (norm, "rmsnorm"))
                t = paired_t((one - base).to_numpy(), LEVEL)
                ends = {"difference": float(t.mean), "low": float(t.low), "high": float(t.high), "p": float(t.p_value)}
                rows.append({"norm": norm, "activation": activation, "quantity": quantity, **ends, "n": len(one)})
    return pd.DataFrame(rows)


def of_shifts(found: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and shift: mean, closed_form, moved, loss_change."""
    means = found.groupby([*ARM, "shift"], sort=False)[["mean", "moved", "loss"]].mean().reset_index()
    base = means["loss"].groupby([means[name] for name in ARM]).transform("first")  # the first shift is none
    form = means["shift"] / np.sqrt(means["shift"] ** 2 + 1)
    rows = means.assign(
        closed_form=form.where(means["norm"] == "rmsnorm", 0.0),
        loss_change=means["loss"] - base,
    )
    return rows[[*ARM, "shift", "mean", "closed_form", "moved", "loss_change"]]


def by_layer(found: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: a row per arm, layer and quantity, with init and trained."""
    names = [*ARM, "layer", "quantity"]
    return found.pivot_table("value", names, "when", sort=False).reset_index().rename_axis(columns=None)


def published(numbers: pd.DataFrame) -> list[Verdict]:
    """Whether trained networks have the pages' numbers: "yes" if the interval lies within `CLOSE` of one, "no" if it
    lies outside of that, otherwise "inconclusive"."""
    verdicts = []
    for row in numbers[numbers["published"].notna()].to_dict("records"):
        low, high, value = (float(row[name]) for name in ("low", "high", "published"))
        within = value - CLOSE <= low and high <= value + CLOSE
        outside = high < value - CLOSE or low > value + CLOSE
        outcome = "no verdict" if row["n"] == 1 else "yes" if within else "no" if outside else "inconclusive"
        sign = "mean" in str(row["quantity"])
        ends = " to ".join(number(end, 3, sign) for end in (low, high))
        words = f"{row['norm']} + {row['activation']}: {row['quantity']} {number(value, 2, sign)}"
        reason = f"{number(row['trained'], 3, sign)} trained ({LEVEL:.0%} interval {ends}, n = {row['n']}), "
        verdicts.append(Verdict(words, outcome, reason + f"{number(row['init'], 3, sign)} at initialization"))
    return verdicts


def halves(numbers: pd.DataFrame) -> Verdict:
    """Whether half of the outputs are negative at initialization in every arm, to within `CLOSE`."""
    shares = numbers.loc[numbers["quantity"] == "outputs negative", "init"]
    outcome = "yes" if (shares - 0.5).abs().max() <= CLOSE else "no"
    reason = f"{shares.min():.3f} to {shares.max():.3f} over the arms"
    return Verdict("At initialization half of the outputs are negative", outcome, reason)


def centring(effects: pd.DataFrame) -> Verdict:
    """Whether centring RMSNorm's output changes the loss of either activation, corrected by Holm's method."""
    rows = effects[(effects["norm"] == "centred_rmsnorm") & (effects["quantity"] == "loss")].to_dict("records")
    adjusted = holm(np.array([row["p"] for row in rows]))
    reason = "; ".join(
        f"{row['activation']} {number(row['difference'], 4, True)} nats "
        f"({number(row['low'], 4, True)} to {number(row['high'], 4, True)}, adjusted p {p:.2g})"
        for row, p in zip(rows, adjusted, strict=True)
    )
    n = rows[0]["n"]
    outcome = "no verdict" if n == 1 else "yes" if (adjusted < 1 - LEVEL).any() else "inconclusive"
    return Verdict("Centring the output of RMSNorm changes the loss", outcome, f"{reason}; n = {n}")


def unchanged(shifted: pd.DataFrame) -> Verdict:
    """Whether the shift test has its closed form, to 1e-3."""
    error = (shifted["mean"] - shifted["closed_form"]).abs().max()
    still = shifted.loc[shifted["norm"] == "layernorm", "moved"].max()
    reason = f"largest deviation of the mean {error:.1e}; LayerNorm's output moves by at most {still:.1e}"
    outcome = "yes" if error < 1e-3 and still < 1e-3 else "no"
    return Verdict("A shifted stream leaves LayerNorm as it is and gives RMSNorm c / sqrt(c² + σ²)", outcome, reason)


def course(rows: pd.DataFrame) -> Figure:
    """Three quantities in training: a row of panels per activation, a line per norm."""
    shown = ("input mean / RMS", "outputs negative", "output mean")
    names = list(dict.fromkeys(rows["activation"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.6 * len(names)), layout="constrained")
        panels = figure.subplots(len(names), len(shown), sharex=True, squeeze=False)
        for line, activation in zip(panels, names, strict=True):
            for axes, quantity in zip(line, shown, strict=True):
                site, metric = QUANTITIES[quantity]
                one = rows[(rows["activation"] == activation) & (rows["site"] == site) & (rows["metric"] == metric)]
                for norm, dashes in zip(NORMS, DASHES, strict=False):
                    seeds = one[one["norm"] == norm].groupby(["step", "seed"])["value"].mean().groupby("step")
                    style = {"color": colour(norm), "linestyle": dashes, "linewidth": 1.5}
                    axes.plot(seeds.mean().index, seeds.mean(), label=norm, **style)
                    axes.fill_between(seeds.min().index, seeds.min(), seeds.max(), color=style["color"], alpha=0.12)
                if value := PUBLISHED.get(("rmsnorm", activation), {}).get(quantity):
                    axes.axhline(value, color="#888888", linewidth=0.8, linestyle=(0, (6, 4)))
                axes.set_title(f"{activation}: {quantity}")
        for axes in panels[-1]:
            axes.set_xlabel("step")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(NORMS))
    return figure


study = Telemetry()
