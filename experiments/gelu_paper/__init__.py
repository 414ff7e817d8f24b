"""The GELU paper, figure by figure: Hendrycks and Gimpel 2016, Gaussian Error Linear Units (arXiv:1606.08415).

Command: ablations study gelu_paper [--budget smoke | short | full] [--only mnist ...]

Settings follow the paper and its authors' code (github.com/hendrycks/GELUs); where they differ, the choice is a field
of the figure and printed with it. `curves.csv` has the training curves of the second version of the paper, digitized
from the vector paths of its PDF: figure_pdf_v2, experiment, condition, activation, split, epoch, value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from experiments.gelu_paper.autoencoder import Autoencoder
from experiments.gelu_paper.cifar import Cifar10, Cifar100
from experiments.gelu_paper.definitions import Definitions
from experiments.gelu_paper.frames import Frames
from experiments.gelu_paper.mnist import Mnist
from experiments.gelu_paper.robustness import Robustness
from experiments.gelu_paper.tweets import Tweets
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.report.studies.reproduction import Reproduction
from lab.results.excerpts import Excerpt

SAVED = Path(__file__).parent / "saved"
"""Excerpts of results from which all figures can be drawn, created by `ablations study gelu_paper`, short budget."""


@dataclass(frozen=True)
class GeluPaper:
    """All figures, in the order of the paper; choices that the paper leaves open are fields of the figures."""

    definitions: Definitions = field(default_factory=Definitions)
    mnist: Mnist = field(default_factory=Mnist)
    robustness: Robustness = field(default_factory=Robustness)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    tweets: Tweets = field(default_factory=Tweets)
    frames: Frames = field(default_factory=Frames)
    cifar10: Cifar10 = field(default_factory=Cifar10)
    cifar100: Cifar100 = field(default_factory=Cifar100)

    name = "gelu_paper"
    title = "Gaussian Error Linear Units (Hendrycks and Gimpel 2016), reproduced"

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """The experiments of all figures."""
        every = [one for item in fields(self) for one in getattr(self, item.name).experiments(budget)]
        return tuple({one.name: one for one in every}.values())  # figures share some

    def reproductions(self, excerpts: Mapping[str, Excerpt]) -> dict[str, Reproduction]:
        """Every figure whose rows are available."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            name: figure.reproduction(excerpts)
            for name, figure in found.items()
            if all(needed in excerpts for needed in figure.needs)
        }


study = GeluPaper()
