"""Quickstart: which activation should the feed-forward layers of a small language model use?

Command:  ablations run quickstart
Cost:     about 3 minutes on 2 CPU cores
Expected: gated activations better than gelu, relu worse; the README has the table
"""

from lab.experiment.experiment import Experiment, Tuning
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

experiment = Experiment(
    name="quickstart",
    question="Which activation should the feed-forward layers of a small language model use?",
    task=CausalLanguage(data="stdlib", context=64, evaluation_windows=64),
    model=Transformer(
        context=64,
        d_model=64,
        n_layers=2,
        n_heads=4,
        norm="rmsnorm",
        positions="rotary",
        bias=False,
        initialization="lecun",  # with a standard deviation of 0.02 so narrow a network would be almost linear at first
    ),
    activations=("relu", "gelu", "silu", "relu2", "geglu", "swiglu"),
    baseline="gelu",
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
    tuning=Tuning(learning_rates=(3e-3, 6e-3, 1.2e-2, 2.4e-2), seeds=(1000, 1001, 1002, 1003)),
    settings=Settings(steps=300, batch_size=8),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
