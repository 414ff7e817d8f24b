"""WikiText-2 in byte pairs: which activation should a small language model of an encyclopedia use?

Command:  ablations run wikitext2_bpe
Cost:     about 4 minutes on 2 CPU cores
Expected: about 2.46 bits per byte with gelu on validation (one seed)
"""

from lab.experiment.experiment import Experiment
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer

experiment = Experiment(
    name="wikitext2_bpe",
    question="Which activation should a small language model of an encyclopedia use?",
    task=CausalLanguage(data="wikitext2", tokenizer="bpe", vocabulary=1024, context=64, evaluation_windows=128),
    model=Transformer(
        vocab_size=1024,
        context=64,
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
    settings=Settings(steps=500, batch_size=16),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
