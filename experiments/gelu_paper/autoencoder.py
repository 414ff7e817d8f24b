"""Figures 3 and 8: an autoencoder of MNIST (figure 4 in later versions, which drop figure 8).

Command: ablations study gelu_paper --only autoencoder --budget short
Cost:    short (25 epochs, 1 run, two learning rates) 36 minutes of 2 CPU cores (from the processor time of two of its
         three cells); full (250 epochs, 3 runs, three) a day, computed from it; on a GPU about an hour (not measured)
Paper:   mean squared error at epoch 25, test: learning rate 1e-3 gelu 0.00606, elu 0.00847, relu 0.01006; 1e-4 gelu
         0.00797, elu 0.00921, relu 0.01062. All values: curves.csv

784-1000-500-250-30-250-500-1000-784 with the activation on all hidden layers, including the code, and a linear output;
Adam, batches of 64, all 60,000 training images, no dropout, incoming weights of norm 1. Test curves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from experiments.gelu_paper.paper import ACTIVATIONS, ADAM, LEARNING_RATES, Evaluate, adam, curves, epochs
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.report.studies.reproduction import Panel, Reproduction, compared, draw, lead, verdict
from lab.results.excerpts import Excerpt
from lab.tasks.images import ImageAutoencoding
from models.mlp import MLP

NAME = "gelu_paper_autoencoder"
EPOCH = 938  # steps: 60,000 images in batches of 64
WIDTHS = (1000, 500, 250, 30, 250, 500, 1000)
ABOVE = {1e-3: 0.016, 1e-4: 0.016, 1e-5: 0.0162}
"""Learning rate -> upper limit of the axes of its panel."""
FULL = {"figure": 250, "code": 500}
EPOCHS = {"smoke": 0.1, "short": 25}


@dataclass(frozen=True)
class Autoencoder:
    """Figures 3 and 8."""

    duration: Literal["figure", "code"] = "figure"
    """Epochs of the full budget: 250 as in the figures, or 500 as in the authors' code."""

    needs = (NAME,)

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """One experiment: one cell per activation, with all learning rates and seeds."""
        duration = FULL[self.duration] if budget == "full" else EPOCHS[budget]
        return (
            Experiment(
                name=NAME,
                question="Do GELU networks reconstruct digits with a smaller error than ReLU and ELU networks?",
                task=ImageAutoencoding("mnist", held_out=False),
                model=MLP(widths=WIDTHS, outputs=784),
                activations=ACTIVATIONS,
                baseline="gelu_tanh",
                learning_rates=LEARNING_RATES if budget == "full" else LEARNING_RATES[:2],
                seeds=(0, 1, 2) if budget == "full" else (0,),
                settings=adam(EPOCH, duration, batch_size=64),
                hyperparameters=ADAM,
            ),
        )

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Mean squared error against epochs, training and test, for every learning rate."""
        rows = excerpts[NAME].rows
        rows = rows[rows["split"] != "test"].replace({"split": {"validation": "test"}})  # the same images
        panels = [
            self._panel(rate, rows[(rows["learning_rate"] / rate - 1).abs() < 1e-6])
            for rate in ABOVE
            if ((rows["learning_rate"] / rate - 1).abs() < 1e-6).any()
        ]
        tables = [compared(panel) for panel in panels]
        verdicts = [verdict(table, panel.title) for panel, table in zip(panels, tables, strict=True)]
        return Reproduction(
            title="MNIST autoencoder",
            figure=draw(panels),
            table=pd.concat(tables, ignore_index=True),
            verdicts=(*verdicts, *(found for panel in panels for found in readings(panel))),
            notes=(
                f"the full budget trains {FULL[self.duration]} epochs ({self.duration})",
                "gelu is its tanh approximation, as in the authors' code",
            ),
        )

    def _panel(self, rate: float, rows: pd.DataFrame) -> Panel:
        mantissa, exponent = f"{rate:.0e}".split("e")
        published = curves("mnist_autoencoder", f"learning_rate={mantissa}e{int(exponent)}", "test")
        at = (5, 10, 25, 50, 100, 150, 200, 250)
        return Panel(f"learning rate {rate:g}", published, epochs(rows, EPOCH), at, ABOVE[rate], "mean squared error")


def readings(panel: Panel) -> list[Any]:
    """The paper's claims about its curves at a learning rate."""
    last = round(panel.ours["epoch"].max())
    if panel.title.endswith("1e-05"):
        return [lead("ELU leads early at 1e-5", panel, "test", "elu", "gelu", 25, min(100, last))]
    return [lead("GELU leads", panel, "test", "gelu", other, last, last) for other in ("relu", "elu")]
