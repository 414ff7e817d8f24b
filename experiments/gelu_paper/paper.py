"""Shared by the figures of the GELU paper: budgets, settings, and the paper's curves."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from lab.experiment.budget import Budget
from lab.experiment.experiment import Cell, Experiment
from lab.report.studies.reproduction import Reproduction
from lab.results.excerpts import Excerpt
from lab.training.settings import Hyperparameters, Run, Settings

Where = Callable[[Cell, Run], bool]
Function = Callable[[Cell, Run, Any, Mapping[str, np.ndarray]], list[dict[str, Any]]]
Evaluate = Callable[[Experiment, Where, Function], pd.DataFrame]
"""Evaluates the networks of a trained experiment: applies a function of cell, run, variables and test arrays to every
network that meets a condition, and returns rows with the network's activation, axes, seed and learning rate."""

ACTIVATIONS = ("gelu_tanh", "relu", "elu")
"""The paper's three activations; its GELU is the tanh approximation in every experiment."""
LEARNING_RATES = (1e-3, 1e-4, 1e-5)
ADAM = Hyperparameters(b1=0.9, b2=0.999, eps=1e-8, clip_norm=float("inf"))  # TensorFlow's defaults
CURVES = Path(__file__).parent / "curves.csv"


class Figure(Protocol):
    """A figure of the paper: its experiments, and how it is drawn."""

    needs: tuple[str, ...]
    """Names of the rows that the figure needs."""

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The experiments; none if the budget is too small."""
        ...

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Measurements of the trained networks: name -> rows."""
        ...

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """The figure, its table and its verdicts, from the rows of experiments and measurements by name."""
        ...


def adam(epoch: int, epochs: float, batch_size: int) -> Settings:
    """Adam at a constant rate for `epochs` epochs of `epoch` steps, evaluated once per epoch.

    The loss of a training batch is recorded before its update and without dropout, as in the authors' code.
    """
    steps = max(1, round(epochs * epoch))
    return Settings(
        steps=steps,
        batch_size=batch_size,
        optimizer="adam",
        schedule="constant",
        warmup_steps=0,
        evaluate_every=min(epoch, steps),
        training_loss="without_dropout",
        matmul_precision="highest",
    )


@lru_cache
def _curves() -> pd.DataFrame:
    return pd.read_csv(CURVES, comment="#", keep_default_na=False)


def curves(experiment: str, condition: str = "", evaluated: str = "validation") -> pd.DataFrame:
    """The paper's curves in a panel: activation, split, epoch, value. The figure's evaluation split is `evaluated`.

    Raises ValueError if there is no such panel.
    """
    known = _curves()
    chosen = known[(known["experiment"] == experiment) & (known["condition"] == condition)]
    if chosen.empty:
        raise ValueError(f"the paper has no curves of {experiment} with {condition or 'no condition'}")
    named = chosen.assign(split=chosen["split"].replace("eval", evaluated))
    return named[["activation", "split", "epoch", "value"]].reset_index(drop=True)


def epochs(rows: pd.DataFrame, epoch: int, metric: str = "loss") -> pd.DataFrame:
    """Our rows of a metric in the form of the paper's: activation, seed, split, epoch, value.

    The training loss is a mean over the steps since the previous evaluation, and is placed in their middle.
    """
    measured = rows[(rows["metric"] == metric) & np.isfinite(rows["value"])].sort_values("step")
    run = ["activation", "seed", "split"]
    since = measured.groupby(run)["step"].shift(fill_value=0)
    middle = measured["step"].where(measured["split"] != "train", (measured["step"] + since) / 2)
    renamed = measured["activation"].replace("gelu_tanh", "gelu")
    return measured.assign(epoch=middle / epoch, activation=renamed)[[*run, "epoch", "value"]]


def tuned(rows: pd.DataFrame, by: Literal["last", "best"] = "last", metric: str = "loss") -> pd.DataFrame:
    """The rows of each activation at its learning rate: the one whose median over the seeds is lowest on validation.

    Medians are compared at the last epoch, or at the best epoch of each.
    """
    validation = rows[(rows["split"] == "validation") & (rows["metric"] == metric) & (rows["step"] > 0)]
    medians = validation.groupby(["activation", "learning_rate", "step"])["value"].median()
    scores = medians.groupby(["activation", "learning_rate"]).agg("last" if by == "last" else "min")
    chosen = scores.groupby("activation").idxmin()
    return rows[pd.MultiIndex.from_frame(rows[["activation", "learning_rate"]]).isin(chosen)]


def rates(rows: pd.DataFrame) -> str:
    """The learning rate of each activation, in words."""
    chosen = rows.groupby("activation", sort=False)["learning_rate"].first()
    return ", ".join(f"{name} {rate:g}" for name, rate in chosen.items())
