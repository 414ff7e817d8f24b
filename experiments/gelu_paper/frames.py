"""Figure 4: frame classification of TIMIT, or of spoken digits if TIMIT is not available.

Command: ablations study gelu_paper --only frames --budget short [--frames.timit FOLDER]
Cost:    short, spoken digits: two and a half minutes of 2 CPU cores, measured; with TIMIT 23 times that. Full: 25
         PFLOP with spoken digits and 600 with TIMIT, ten minutes and four hours of a GPU at 50 TFLOP/s, three days and
         ten weeks of 2 CPU cores at 0.1, computed from the numbers of weights, frames and steps
Paper:   TIMIT, test frame error at the lowest validation loss: gelu 29.3 %, relu 29.5 %, elu 29.6 %. Log loss at epoch
         30: training gelu 1.276, elu 1.366, relu 1.411; validation gelu 1.492, elu 1.496, relu 1.474. All values:
         curves.csv

11 frames of 26 features, five layers of 2048 units, 39 phones, Adam, batches of 64 sentences, 30 epochs, keep
probability 0.5, incoming weights of norm 1, learning rates 1e-3, 1e-4, 1e-5, medians of five runs; 3696 / 1152 / 192
sentences. The authors' code drops incomplete batches of validation and test; here all sentences count. How the authors
computed the 26 features is not published, see lab.data.audio.mfcc. Digits are predicted from log-mel spectra, with one
class per recording. The smaller budgets train narrower networks with less dropout.
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
from lab.report.studies.reproduction import Panel, Reproduction, Verdict, compared, draw, lead, verdict
from lab.results.excerpts import Excerpt
from lab.tasks.audio.frames import Frames as Task
from lab.tasks.audio.phones import Phones
from lab.tasks.audio.speech import SpokenDigits
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
    """Figure 4. Raises ValueError for TIMIT options without its folder, and for a folder that is not that of TIMIT."""

    timit: str = ""
    """The TIMIT folder (LDC93S1) with TRAIN and TEST; without it, spoken digits are used."""
    softmax: Literal[39, 2048] = 39
    """Outputs of the network: 39 as in the paper, or 2048, of which 39 are used, as in the authors' code."""
    mean_subtractions: Literal[1, 2] = 1
    """How often the mean of train is subtracted from validation and test; 2 in the authors' code."""

    def __post_init__(self) -> None:
        if not self.timit and (self.softmax, self.mean_subtractions) != (39, 1):
            raise ValueError("softmax and mean_subtractions apply to TIMIT: pass its folder as timit")
        if self.timit and not all((Path(self.timit) / part).is_dir() for part in ("TRAIN", "TEST")):
            raise ValueError(f"frames.timit is '{self.timit}': it must be the TIMIT folder with TRAIN and TEST")

    @property
    def name(self) -> str:
        """The name of the experiment, which is that of its data."""
        return TIMIT if self.timit else DIGITS

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """One experiment: one cell per activation, with all learning rates and seeds."""
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
        """Names of the rows that the figure needs."""
        return (self.name,)

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Log loss per frame against epochs, training and validation; with the paper's curves for TIMIT."""
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
        notes.append("spoken digits replace TIMIT, which is licensed: use --frames.timit FOLDER if you have it")
        return Reproduction(
            "Frames of spoken digits", draw([panel]), compared(panel), digits(panel, last), tuple(notes)
        )


def digits(panel: Panel, last: int) -> tuple[Verdict, ...]:
    """The paper's order on TIMIT, tested on spoken digits."""
    reading = "as on TIMIT, GELU trains faster"
    return tuple(lead(reading, panel, "train", "gelu", other, 1, last) for other in ("relu", "elu"))
