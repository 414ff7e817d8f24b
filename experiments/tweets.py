"""Tweets: which activation should a part-of-speech tagger use, in the setting of the GELU paper?

Command:  ablations run tweets
Cost:     about 2 minutes on 2 CPU cores
Expected: a token error of 22 to 24 % on validation for all; all differences inconclusive with five seeds

Hendrycks and Gimpel (2016, arXiv:1606.08415, section 3.3) report a test error of 12.57 % for gelu, 12.67 % for relu and
12.91 % for elu (median of 5), with word vectors that were learned from 56 million tweets and are no longer published:
here they are learned from the 14,619 words of the training split, so the errors are larger.
"""

from lab.experiment.experiment import Experiment
from lab.tasks.tagging import TweetTagging
from lab.training.settings import Hyperparameters, Settings
from models.mlp import MLP

task = TweetTagging()
EPOCH = 914  # steps

experiment = Experiment(
    name="tweets",
    question="Which activation should a part-of-speech tagger use?",
    task=task,
    model=MLP(
        input_shape=(3,), widths=(256, 256), outputs=25, dropout=0.2, vocab_size=task.vocab_size, embedding_dim=50
    ),
    activations=("gelu", "relu", "elu", "silu", "swiglu"),
    seeds=(0, 1, 2, 3, 4),
    metric="token_error",
    settings=Settings(
        steps=4 * EPOCH,  # from the third epoch on the network overfits to the words of train
        batch_size=16,
        optimizer="adam",
        schedule="constant",
        warmup_steps=0,
        evaluate_every=EPOCH,
    ),
    hyperparameters=Hyperparameters(learning_rate=1e-3, b2=0.999, clip_norm=float("inf")),
)
