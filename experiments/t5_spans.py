"""Span corruption: which activation should a small T5-style encoder-decoder use?

Command:  ablations run t5_spans
Cost:     585 s of processor time, 5 minutes of 2 otherwise idle CPU cores
Expected: gated activations better than gelu, relu worse: the order in Shazeer 2020, for far larger networks

The objective is that of Raffel et al. 2020 (arXiv:1910.10683), the metric that of Shazeer 2020 (arXiv:2002.05202): the
log-perplexity of the targets, including sentinels and end, on held-out text. The learning rate is the best of 0.001,
0.003 and 0.01 for gelu on seeds 1000 and 1001.
"""

from lab.experiment.experiment import Experiment
from lab.tasks.spans import SpanCorruption
from lab.training.settings import Hyperparameters, Settings
from models.families import family

TASK = SpanCorruption(data="stdlib", context=64, evaluation_windows=256)

experiment = Experiment(
    name="t5_spans",
    question="Which activation should a small T5-style encoder-decoder use?",
    task=TASK,
    model=family("t5", "base", vocab_size=TASK.vocab_size, d_model=64, n_layers=2, n_heads=4, head_dim=16, d_ff=256),
    activations=("relu", "gelu", "gelu_tanh", "swiglu", "geglu"),
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=400, batch_size=16),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
