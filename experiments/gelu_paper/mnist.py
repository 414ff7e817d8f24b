"""Figure 2: MNIST classification with and without dropout.

Command: ablations study gelu_paper --only mnist --budget short
Cost:    90 runs; on 2 CPU cores 50 minutes (short, 20 epochs) and, computed from that, 2 hours (full, 50 epochs);
         on a GPU minutes (not measured)
Paper:   log loss at epoch 20: training without dropout gelu 0.0157, relu 0.0178, elu 0.0237; validation with keep
         probability 0.5 gelu 0.135, elu 0.183, relu above 0.5. All values: curves.csv

Eight layers of 128 units, Adam, batches of 128, 55,000 / 5,000 / 10,000 images, incoming weights of norm 1, learning
rates 1e-3, 1e-4, 1e-5, medians of five runs. The training loss is that of each batch before its update, without
dropout. The published training curves are smoothed in an unspecified way; ours are means over an epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from experiments.gelu_paper.paper import (
    ACTIVATIONS,
    ADAM,
    LEARNING_RATES,
    Evaluate,
    adam,
    curves,
    epochs,
    rates,
    tuned,
)
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.report.studies.reproduction import Panel, Reproduction, compared, draw, lead, verdict
from lab.results.excerpts import Excerpt
from lab.tasks.images import ImageClassification
from models.mlp import MLP

NAME = "gelu_paper_mnist"
EPOCH = 430  # steps: 55,000 images in batches of 128
EPOCHS = {"smoke": 0.2, "short": 20, "full": 50}
AT = (2, 5, 10, 20, 30, 40, 50)
KEPT = {1.0: 0.15, 0.5: 0.5}
"""Keep probability -> upper limit of the axes of its panel."""


@dataclass(frozen=True)
class Mnist:
    """Figure 2."""

    tuned_by: Literal["last", "best"] = "last"
    """The median validation loss by which learning rates are chosen, which the paper does not state."""
    common_rate: float = 1e-3
    """A common learning rate for all activations, shown beside the tuned ones if these differ."""

    needs = (NAME,)

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """One experiment: one cell per activation and keep probability, with all learning rates and seeds."""
        return (
            Experiment(
                name=NAME,
                question="Do GELU networks learn MNIST faster than ReLU and ELU networks, with and without dropout?",
                task=ImageClassification("mnist"),
                model=MLP(),
                activations=ACTIVATIONS,
                baseline="gelu_tanh",
                axes=(("model.dropout", tuple(1 - keep for keep in KEPT)),),
                learning_rates=LEARNING_RATES,
                seeds=(0, 1) if budget == "smoke" else (0, 1, 2, 3, 4),
                settings=adam(EPOCH, EPOCHS[budget], batch_size=128),
                hyperparameters=ADAM,
            ),
        )

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Loss against epochs, training and validation, without and with dropout."""
        chosen = {}
        for keep in KEPT:
            rows = with_dropout(excerpts[NAME].rows, 1 - keep)
            common = rows[(rows["learning_rate"] / self.common_rate - 1).abs() < 1e-6]
            chosen[keep, "tuned"] = tuned(rows, self.tuned_by)
            if rates(common) != rates(chosen[keep, "tuned"]):
                chosen[keep, f"{self.common_rate:g} for all"] = common
        panels = [_panel(keep, rate, rows) for (keep, rate), rows in chosen.items()]
        tables = [compared(panel) for panel in panels]
        verdicts = [verdict(table, panel.title) for panel, table in zip(panels, tables, strict=True)]
        without = [panel for (keep, _), panel in zip(chosen, panels, strict=True) if keep == 1]
        return Reproduction(
            title="MNIST classification",
            figure=draw(panels),
            table=pd.concat(tables, ignore_index=True),
            verdicts=(*verdicts, *(found for panel in without for found in readings(panel))),
            notes=(
                *(f"keep {keep:g}, {rate}: learning rates {rates(rows)}" for (keep, rate), rows in chosen.items()),
                f"tuned is the lowest median validation loss at the {self.tuned_by} epoch; the paper does not state "
                "the learning rates behind its curves",
                f"{self.common_rate:g} for all, where the tuned ones differ, was added after seeing the runs",
                "gelu is its tanh approximation, as in the authors' code",
            ),
        )


def _panel(keep: float, rate: str, rows: pd.DataFrame) -> Panel:
    published = curves("mnist_classification", f"keep_probability={keep}")
    return Panel(f"keep {keep:g}, {rate}", published, epochs(rows, EPOCH), AT, KEPT[keep], "log loss")


def with_dropout(rows: pd.DataFrame, rate: float) -> pd.DataFrame:
    """The rows of one dropout rate."""
    return rows[(rows["dropout"] - rate).abs() < 1e-6]


def readings(panel: Panel) -> list[Any]:
    """The paper's claims about its curves without dropout."""
    last = round(panel.ours["epoch"].max())
    early = "GELU trains faster early"
    end = "at the end its lead is inconclusive"
    flat = "ELU ends with the best validation loss"
    return [
        *(lead(early, panel, "train", "gelu", other, 2, min(40, last)) for other in ("relu", "elu")),
        *(lead(end, panel, "train", "gelu", other, last, last) for other in ("relu", "elu")),
        *(lead(flat, panel, "validation", "elu", other, last, last) for other in ("gelu", "relu")),
    ]
