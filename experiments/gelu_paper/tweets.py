"""Section 3.3: part-of-speech tagging of tweets with two layers; section 4: the same without dropout.

Command: ablations study gelu_paper --only tweets --budget short
Cost:    60 runs of 30 epochs, short as full; on 2 CPU cores 24 minutes (from the processor time of all runs)
Paper:   test error, median of 5: gelu 12.57 %, relu 12.67 %, elu 12.91 % with keep probability 0.8; section 4: relu
         without dropout has 11.9 %, less than with it

25 tags, a word with its two neighbours, 256-256, Adam, batches of 16, 30 epochs, incoming weights of norm 1, learning
rates 1e-3, 1e-4, 1e-5. The paper's word vectors, learned from 56 million tweets and kept fixed, are no longer
available: here 50 numbers per word are learned from the 14,619 words of the training split, so errors are larger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.gelu_paper.paper import ACTIVATIONS, ADAM, LEARNING_RATES, Evaluate, adam, rates, tuned
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.report.figures import INK, STYLE, colour
from lab.report.studies.reproduction import Reproduction, Verdict
from lab.results.excerpts import Excerpt
from lab.statistics.paired import paired_difference
from lab.tasks.tagging import TweetTagging
from models.mlp import MLP

NAMES = {0.8: "gelu_paper_tweets", 1.0: "gelu_paper_tweets_without_dropout"}
"""Keep probability -> the experiment's name."""
EPOCH = 914  # steps: 14,619 words in batches of 16
TASK = TweetTagging()
MODEL = MLP(input_shape=(3,), widths=(256, 256), outputs=25, vocab_size=TASK.vocab_size, embedding_dim=50)
PAPER = {(0.8, "gelu"): 12.57, (0.8, "relu"): 12.67, (0.8, "elu"): 12.91, (1.0, "relu"): 11.9}
"""(keep probability, activation) -> test error in percent."""


@dataclass(frozen=True)
class Tweets:
    """The test errors of sections 3.3 and 4, at the last epoch; the paper does not state its epoch."""

    tuned_by: Literal["last", "best"] = "last"
    """The median validation error by which learning rates are chosen."""

    needs = tuple(NAMES.values())

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """Two: all activations with dropout, one cell each, and ReLU without, as in section 4."""
        with_dropout = Experiment(
            name=NAMES[0.8],
            question="Which activation should a part-of-speech tagger use?",
            task=TASK,
            model=replace(MODEL, dropout=0.2),
            activations=ACTIVATIONS,
            baseline="gelu_tanh",
            learning_rates=LEARNING_RATES,
            seeds=(0, 1) if budget == "smoke" else (0, 1, 2, 3, 4),
            metric="token_error",
            settings=adam(EPOCH, 0.2 if budget == "smoke" else 30, batch_size=16),
            hyperparameters=ADAM,
        )
        without = replace(with_dropout, name=NAMES[1.0], model=MODEL, activations=("relu",), baseline="relu")
        return (with_dropout, without)

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Validation errors against epochs, test errors beside the paper's, and differences paired by seed."""
        chosen = {keep: tuned(excerpts[name].rows, self.tuned_by, "token_error") for keep, name in NAMES.items()}
        errors = pd.concat([_errors(found).assign(keep=keep) for keep, found in chosen.items()], ignore_index=True)
        test = errors[errors["split"] == "test"]
        return Reproduction(
            title="Tweets: parts of speech",
            figure=drawn(errors),
            table=tabulated(test),
            verdicts=(
                difference("GELU has the lower test error", test, (0.8, "gelu"), (0.8, "relu")),
                difference("GELU has the lower test error", test, (0.8, "gelu"), (0.8, "elu")),
                difference("without dropout ReLU has the lower test error", test, (1.0, "relu"), (0.8, "relu")),
            ),
            notes=(
                "word vectors are learned here, from the training tweets only; the paper's, learned from 56 million "
                "tweets and kept fixed, are not available: errors are not comparable in size",
                *(f"keep {keep:g}: learning rates {rates(found)}" for keep, found in chosen.items()),
                "test errors at the last epoch; the paper does not say which",
            ),
        )


def _errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Errors in percent: activation, seed, split, epoch, value."""
    errors = rows[rows["metric"] == "token_error"]
    return errors.assign(
        activation=errors["activation"].replace("gelu_tanh", "gelu"),
        epoch=errors["step"] / EPOCH,
        value=100 * errors["value"],
    )[["activation", "seed", "split", "epoch", "value"]]


def tabulated(test: pd.DataFrame) -> pd.DataFrame:
    """One row per keep probability and activation: the paper's test error in percent, and the median of our n runs."""
    by = test.groupby(["keep", "activation"], sort=False)["value"]
    table = by.agg(ours="median", low="min", high="max", n="count").reset_index()
    published = [PAPER.get((keep, name), np.nan) for keep, name in zip(table["keep"], table["activation"], strict=True)]
    table.insert(2, "published", published)
    return table.assign(difference=table["ours"] / table["published"] - 1)


def difference(reading: str, test: pd.DataFrame, one: tuple[float, str], other: tuple[float, str]) -> Verdict:
    """Whether one arm (keep probability, activation) has a lower test error than another, paired over seeds."""
    arms = test.set_index(["keep", "activation", "seed"])["value"].sort_index()
    pairs = (arms.loc[one] - arms.loc[other]).dropna()
    paper = PAPER[one] - PAPER[other]
    claim = f"{reading}: {one[1]} (keep {one[0]:g}) below {other[1]} (keep {other[0]:g}), the paper {paper:+.2f} points"
    if len(pairs) < 2:
        return Verdict(claim, "no verdict", "fewer than two paired runs")
    found = paired_difference(pairs.to_numpy(), np.zeros(len(pairs)))
    outcome = "inconclusive" if found.low <= 0 <= found.high else "yes" if found.mean < 0 else "no, higher"
    reason = f"{found.mean:+.2f} points (95 % interval {found.low:+.2f} to {found.high:+.2f}, n = {found.n})"
    return Verdict(claim, outcome, reason)


def drawn(errors: pd.DataFrame) -> Figure:
    """Validation errors with bands over all runs; right the test errors, one dot per run, beside the paper's."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.3), layout="constrained")
        *panels, right = figure.subplots(1, len(NAMES) + 1)
        for axes, keep in zip(panels, NAMES, strict=True):
            validation = errors[(errors["keep"] == keep) & (errors["split"] == "validation") & (errors["epoch"] > 0)]
            for name, one in validation.groupby("activation", sort=False):
                by, hue = one.groupby("epoch")["value"], colour(str(name))
                axes.plot(by.median().index, by.median(), color=hue, linewidth=1.6, label=name)
                axes.fill_between(by.min().index, by.min(), by.max(), color=hue, alpha=0.15, linewidth=0)
            axes.set(title=f"keep {keep:g}, validation", xlabel="epoch", ylabel="error, %")
        panels[0].legend()
        _draw_test(right, errors[errors["split"] == "test"])
    return figure


def _draw_test(axes: Any, test: pd.DataFrame) -> None:
    arms = list(test.groupby(["keep", "activation"], sort=False))
    for height, (arm, runs) in enumerate(arms):
        hue = colour(str(arm[1]))
        axes.plot(runs["value"], np.full(len(runs), height), "o", markersize=4, alpha=0.5, markeredgewidth=0, color=hue)
        axes.plot(runs["value"].median(), height, "D", markersize=6, color=hue)
        if arm in PAPER:
            axes.plot(PAPER[arm], height, "|", markersize=12, markeredgewidth=2, color=INK)
    axes.set(title="test: runs, median, | paper", xlabel="error, %", ylim=(len(arms) - 0.5, -0.5))
    axes.set_yticks(range(len(arms)), [f"{name}, keep {keep:g}" for (keep, name), _ in arms])
