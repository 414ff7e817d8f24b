"""Which activation should this network use, and why? Everything that a user imports, loaded when it is first used.

    from ablations import Activation, Experiment, Transformer, CausalLanguage, Settings, run, load, compare

`ablations --help` lists the commands.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.cli.main import main as main
    from lab.data.dataset import Dataset as Dataset
    from lab.experiment.experiment import Experiment as Experiment
    from lab.experiment.experiment import Tuning as Tuning
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
    from lab.runner.interface import run as run
    from lab.runner.interface import study as study
    from lab.runner.interface import swap as swap
    from lab.runner.interface import tune as tune
    from lab.tasks.language import CausalLanguage as CausalLanguage
    from lab.tasks.task import Task as Task
    from lab.training.settings import Hyperparameters as Hyperparameters
    from lab.training.settings import Settings as Settings
    from models.activations import ACTIVATIONS as ACTIVATIONS
    from models.activations import Activation as Activation
    from models.activations import activation as activation
    from models.transformer import Transformer as Transformer

PLACES = {
    "lab.cli.main": ("main",),
    "lab.data.dataset": ("Dataset",),
    "lab.experiment.experiment": ("Experiment", "Tuning"),
    "lab.runner.interface": (
        *("compare", "describe", "evaluate", "figures", "gate", "inspect", "load", "match", "noise"),
        *("plan", "run", "study", "swap", "tune"),
    ),
    "lab.tasks.language": ("CausalLanguage",),
    "lab.tasks.task": ("Task",),
    "lab.training.settings": ("Hyperparameters", "Settings"),
    "models.activations": ("ACTIVATIONS", "Activation", "activation"),
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


if __name__ == "__main__":
    sys.exit(__getattr__("main")())
