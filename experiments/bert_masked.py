"""Masked language modelling: which activation should a small BERT-style encoder use?

Command:  ablations run bert_masked
Cost:     473 s of processor time, 4 minutes of 2 otherwise idle CPU cores
Expected: gelu and gelu_tanh indistinguishable, as the two differ by less than 0.001 everywhere

The objective is that of Devlin et al. 2018 (arXiv:1810.04805). The dense layer before the output uses gelu in every
arm; only the feed-forward layers differ. The learning rate is the best of 0.001, 0.003 and 0.01 for gelu on seeds 1000
and 1001.
"""

from lab.experiment.experiment import Experiment
from lab.tasks.masked import MaskedLanguage
from lab.training.settings import Hyperparameters, Settings
from models.families import family

TASK = MaskedLanguage(data="stdlib", context=64, evaluation_windows=256)

experiment = Experiment(
    name="bert_masked",
    question="Which activation should a small BERT-style encoder use?",
    task=TASK,
    model=family(
        "bert",
        "base",
        vocab_size=TASK.vocab_size,
        context=TASK.context,
        d_model=64,
        n_layers=2,
        n_heads=4,
        token_types=0,
        initialization="lecun",  # with a standard deviation of 0.02 so narrow a network would be almost linear at first
    ),
    activations=("relu", "gelu", "gelu_tanh", "swiglu", "geglu"),
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(steps=400, batch_size=16),
    hyperparameters=Hyperparameters(learning_rate=3e-3),
)
