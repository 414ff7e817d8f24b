"""Figure 4: frame classification of TIMIT, whose place spoken digits take for those who have no TIMIT.

Command: ablations study gelu_paper --only frames --budget short [--frames.timit FOLDER]
Cost:    short, spoken digits: two and a half minutes of 2 CPU cores, measured; with TIMIT 23 times that. Full: 25
         PFLOP with spoken digits and 600 with TIMIT, ten minutes and four hours of a GPU at 50 TFLOP/s, three days and
         ten weeks of 2 CPU cores at 0.1, computed from the numbers of weights, frames and steps
Paper:   TIMIT, test frame error at the lowest validation loss: gelu 29.3 %, relu 29.5 %, elu 29.6 %. Log loss at epoch
         30: training gelu 1.276, elu 1.366, relu 1.411; validation gelu 1.492, elu 1.496, relu 1.474. All values:
         curves.csv

11 frames of 26 numbers, five layers of 2048 units, 39 phones, Adam, batches of 64 sentences, 30 epochs, keep
probability 0.5, weights of norm 1 into every unit, learning rates 1e-3, 1e-4, 1e-5, medians of five runs; 3696 / 1152 /
192 sentences. The authors' code leaves out the sentences that do not fill a batch of validation or test: here all are
counted. How they made the 26 numbers is not published: see lab.data.audio.mfcc. Digits are told from log-mel spectra, a
whole recording being of one class. The smaller budgets train narrower networks with less dropout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
from lab.report.reproduction import Panel, Reproduction, Verdict, compared, draw, lead, verdict
from lab.results.excerpts import Excerpt
from lab.tasks.frames import Frames as Task
from lab.tasks.phones import Phones
from lab.tasks.speech import SpokenDigits
from models.mlp import MLP

TIMIT, DIGITS = "gelu_paper_timit", "gelu_paper_spoken_digits"
EPOCH = {TIMIT: 58, DIGITS: 32}
"""Steps: 3696 sentences or 2000 recordings in batches of 64."""
WIDTH = {"smoke": 16, "short": 96, "full": 2048}
DROPOUT = {"smoke": 0.2, "short": 0.2, "full": 0.5}
EPOCHS = {"smoke": 0.25, "short": 6, "full": 30}
SEEDS = {"smoke": (0, 1), "short": (0, 1, 2), "full": (0, 1, 2, 3, 4)}


@dataclass(frozen=True)
class Frames:
    """Figure 4. Raises ValueError for choices about TIMIT without it, and for a folder that is not that of TIMIT."""

    timit: str = ""
    """The folder of TIMIT (LDC93S1) that has TRAIN and TEST; without it, spoken digits stand in."""
    softmax: Literal[39, 2048] = 39
    """Outputs of the network: 39 as the paper says, or 2048, of which 39 are used, as the authors' code has them."""
    mean_subtractions: Literal[1, 2] = 1
    """Times that the mean of train is subtracted from validation and test: 2 in the authors' code."""

    def __post_init__(self) -> None:
        if not self.timit and (self.softmax, self.mean_subtractions) != (39, 1):
            raise ValueError("softmax and mean_subtractions are choices about TIMIT: give its folder as timit")
        if self.timit and not all((Path(self.timit) / part).is_dir() for part in ("TRAIN", "TEST")):
            raise ValueError(f"frames.timit is '{self.timit}': it must be the folder of TIMIT that has TRAIN and TEST")

    @property
    def name(self) -> str:
        """The experiment: it has the name of its data."""
        return TIMIT if self.timit else DIGITS

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """One experiment: a cell an activation, of all learning rates and seeds."""
        task: Task = SpokenDigits()
        if self.timit:
            task = Phones(folder=self.timit, softmax=self.softmax, mean_subtractions=self.mean_subtractions)
        return (
            Experiment(
                name=self.name,
                question="Do GELU networks learn to classify frames of speech better than ReLU and ELU networks?",
                task=task,
                model=MLP(
                    input_shape=(11, 26),
                    widths=(WIDTH[budget],) * 5,
                    outputs=task.classes,
                    dropout=DROPOUT[budget],
                ),
                activations=ACTIVATIONS,
                baseline="gelu_tanh",
                learning_rates=LEARNING_RATES if budget == "full" else LEARNING_RATES[:2],
                seeds=SEEDS[budget],
                settings=adam(EPOCH[self.name], EPOCHS[budget], batch_size=64),
                hyperparameters=ADAM,
            ),
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the rows that it is drawn from."""
        return (self.name,)

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing beside the curves."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Log loss of a frame against epochs, training and validation; beside the paper's where the data are TIMIT."""
        chosen = tuned(excerpts[self.name].rows, "best")
        ours = epochs(chosen, EPOCH[self.name])
        notes = [f"learning rates {rates(chosen)}, lowest median validation loss (best epoch)"]
        if self.timit:
            panel = Panel("TIMIT", curves("timit"), ours, (5, 10, 15, 20, 25, 30), above=1.8, unit="log loss")
            table = compared(panel)
            choices = f"{self.softmax} outputs, mean subtracted {self.mean_subtractions} times"
            return Reproduction("Frames of TIMIT", draw([panel]), table, (verdict(table, "TIMIT"),), (*notes, choices))
        last = round(ours["epoch"].max())
        panel = Panel("spoken digits", curves("timit").head(0), ours, (1, 2, 4, last), unit="log loss")
        notes.append("spoken digits stand in for TIMIT, which is licensed: --frames.timit FOLDER takes one's own")
        return Reproduction(
            "Frames of spoken digits", draw([panel]), compared(panel), digits(panel, last), tuple(notes)
        )


def digits(panel: Panel, last: int) -> tuple[Verdict, ...]:
    """The paper's order on TIMIT, as far as spoken digits tell of it."""
    reading = "as on TIMIT, GELU trains faster"
    return tuple(lead(reading, panel, "train", "gelu", other, 1, last) for other in ("relu", "elu"))
