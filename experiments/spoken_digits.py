"""Spoken digits: which activation should a frame classifier of speech use, as in the GELU paper for TIMIT?

Command:  ablations run spoken_digits
Cost:     about 5 minutes on 2 CPU cores
Expected: about 13 % of the frames and 1 % of the recordings misclassified on validation with gelu

The setting follows Hendrycks and Gimpel (2016, arXiv:1606.08415, section 3.4), who used TIMIT, which is not free: 11
frames of 26 features, five hidden layers, batches of 64 recordings. The layers are narrower, 128 instead of 2048, with
less dropout. A recording is classified by the mean log-probability of its frames.
"""

from lab.experiment.experiment import Experiment
from lab.tasks.audio.speech import SpokenDigits
from lab.training.settings import Hyperparameters, Settings
from models.mlp import MLP

EPOCH = 32  # steps

experiment = Experiment(
    name="spoken_digits",
    question="Which activation should a frame classifier of speech use?",
    task=SpokenDigits(),
    model=MLP(input_shape=(11, 26), widths=(128,) * 5, outputs=10, dropout=0.2),
    activations=("gelu", "relu", "elu", "silu", "swiglu"),
    seeds=(0, 1, 2, 3, 4),
    settings=Settings(
        steps=10 * EPOCH,
        batch_size=64,
        optimizer="adam",
        schedule="constant",
        warmup_steps=0,
        evaluate_every=EPOCH,
    ),
    hyperparameters=Hyperparameters(learning_rate=1e-3, b2=0.999, clip_norm=float("inf")),
)
