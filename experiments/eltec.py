"""ELTeC: which activation should a small language model of novels by unseen authors use?

Command:  ablations run eltec
Cost:     about 6 minutes on 2 CPU cores
Expected: about 2.74 bits per byte with gelu on validation (one seed)
"""

from lab.experiment.experiment import Experiment
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

experiment = Experiment(
    name="eltec",
    question="Which activation should a small language model of novels by unseen authors use?",
    task=CausalLanguage(data="eltec_eng", context=128, evaluation_windows=128),
    model=Transformer(
        context=128,
        d_model=64,
        n_layers=2,
        n_heads=4,
        norm="rmsnorm",
        positions="rotary",
        bias=False,
        initialization="lecun",  # with a standard deviation of 0.02 so narrow a network would be almost linear at first
    ),
    activations=("gelu", "relu", "elu", "silu", "swiglu"),
    seeds=(0, 1, 2, 3, 4),
    metric="bits_per_byte",
    settings=Settings(steps=600, batch_size=8),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
