"""Plasticity: do the units of an online learner stay useful when its problem changes slowly?

Command:  ablations run plasticity
Cost:     about 10 minutes of processor time, computed from the 63 s that ReLU's 300 runs take on an AMD EPYC
Expected: the squared error in bins of 20,000 examples, published as a figure: ReLU from 0.62 to 1.25 at a learning rate
          of 0.01, from 0.71 to 1.10 at 0.003 and from 0.84 to 0.88 at 0.001; tanh from 0.43 to 0.89 at 0.01; a linear
          model 0.87 throughout at 0.01. So ReLU ends above the linear model. docs/studies.md has what was found

The slowly-changing regression of Dohare et al. (2024), "Loss of plasticity in deep continual learning", Nature 632,
github.com/shibhansh/loss-of-plasticity: 20 bits, of which 15 are drawn anew every 10,000 examples; the target is a
network of 100 linear threshold units; the learner has 5 hidden units and takes a step of SGD after each of a million
examples, whose error before the step counts; 100 seeds. `identity` is a linear learner with a hidden layer; the
published linear model without one is in the study dying_units. Gated layers have 3 hidden units, so as many parameters.
"""

from lab.experiment.experiment import Experiment
from lab.tasks.slowly_changing import SlowlyChanging
from lab.training.settings import Hyperparameters, Settings
from models.mlp import MLP

experiment = Experiment(
    name="plasticity",
    question="Which activation stays plastic in online learning of a slowly changing problem?",
    task=SlowlyChanging(),
    model=MLP(input_shape=(20,), widths=(5,), outputs=1, initialization="kaiming"),
    activations=("relu", "leaky_relu", "gelu", "relu2", "swiglu", "geglu", "tanh", "identity"),
    baseline="relu",
    split="train",  # the online error: the loss of every example before it is learned from
    seeds=tuple(range(100)),
    learning_rates=(0.01, 0.003, 0.001),
    settings=Settings(
        steps=1_000_000,
        batch_size=1,
        optimizer="sgd",
        regularization="l2",
        schedule="constant",
        warmup_steps=0,
        evaluate_every=20_000,
        checkpoint_every=50,
    ),
    hyperparameters=Hyperparameters(weight_decay=0.0, b1=0.0, clip_norm=float("inf")),
)
