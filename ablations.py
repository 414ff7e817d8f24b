"""Which activation should this network use, and why? Everything that a user imports, loaded when it is first used.

    from ablations import Activation, Experiment, Transformer, CausalLanguage, Settings, run, load, compare

`ablations --help` lists the commands.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.cli.main import main as main
    from lab.data.dataset import Dataset as Dataset
    from lab.experiment.cell import Cell as Cell
    from lab.experiment.experiment import Experiment as Experiment
    from lab.experiment.experiment import Tuning as Tuning
    from lab.experiment.study import Findings as Findings
    from lab.report.studies.reproduction import Verdict as Verdict
    from lab.report.studies.study_page import Section as Section
    from lab.runner.interface import choose as choose
    from lab.runner.interface import compare as compare
    from lab.runner.interface import describe as describe
    from lab.runner.interface import evaluate as evaluate
    from lab.runner.interface import figures as figures
    from lab.runner.interface import gate as gate
    from lab.runner.interface import inspect as inspect
    from lab.runner.interface import load as load
    from lab.runner.interface import match as match
    from lab.runner.interface import noise as noise
    from lab.runner.interface import plan as plan
    from lab.runner.interface import quantize as quantize
    from lab.runner.interface import run as run
    from lab.runner.interface import stable_rates as stable_rates
    from lab.runner.interface import study as study
    from lab.runner.interface import swap as swap
    from lab.runner.interface import telemetry as telemetry
    from lab.runner.interface import tune as tune
    from lab.tasks.language import CausalLanguage as CausalLanguage
    from lab.tasks.task import Task as Task
    from lab.training.settings import Hyperparameters as Hyperparameters
    from lab.training.settings import Settings as Settings
    from models.activations import ACTIVATIONS as ACTIVATIONS
    from models.activations import Activation as Activation
    from models.activations import activation as activation
    from models.activations import glu_of as glu_of
    from models.layers.feedforward import FeedForward as FeedForward
    from models.mlp import MLP as MLP
    from models.model import Model as Model
    from models.transformer import Transformer as Transformer

PLACES = {
    "lab.cli.main": ("main",),
    "lab.data.dataset": ("Dataset",),
    "lab.experiment.cell": ("Cell",),
    "lab.experiment.experiment": ("Experiment", "Tuning"),
    "lab.experiment.study": ("Findings",),
    "lab.report.studies.reproduction": ("Verdict",),
    "lab.report.studies.study_page": ("Section",),
    "lab.runner.interface": (
        *("choose", "compare", "describe", "evaluate", "figures", "gate", "inspect", "load", "match", "noise"),
        *("plan", "quantize", "run", "stable_rates", "study", "swap", "telemetry", "tune"),
    ),
    "lab.tasks.language": ("CausalLanguage",),
    "lab.tasks.task": ("Task",),
    "lab.training.settings": ("Hyperparameters", "Settings"),
    "models.activations": ("ACTIVATIONS", "Activation", "activation", "glu_of"),
    "models.layers.feedforward": ("FeedForward",),
    "models.mlp": ("MLP",),
    "models.model": ("Model",),
    "models.transformer": ("Transformer",),
}
"""Module -> the names that it gives."""

__all__ = sorted(name for names in PLACES.values() for name in names)


def __getattr__(name: str) -> Any:
    for module, names in PLACES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


def _check_packages() -> None:
    """Exits, in one sentence, where a module of the user's is found in place of a package of this project."""
    for name in ("models", "lab", "experiments"):
        found = importlib.util.find_spec(name)
        if found is None:
            continue
        place = Path(next(iter(found.submodule_search_locations or [found.origin or name]))).resolve()
        if place != Path(__file__).resolve().parent / name:
            sys.exit(
                f"ablations: {place} hides the package '{name}' of ablations: rename it, or move your script to "
                f"another folder"
            )


_check_packages()

if __name__ == "__main__":
    sys.exit(__getattr__("main")())
