"""Figures 5 and 6: an all-convolutional network on CIFAR-10, a wide residual network on CIFAR-100.

Command: ablations study gelu_paper --only cifar10 cifar100 --budget full
Cost:    computed from the products of a training step, not measured: CIFAR-10 24 PFLOP per run, of which there are 18,
         CIFAR-100 40 PFLOP per run, of which there are 9; at 20 TFLOP/s of a GPU 6 and 5 hours in all, at 0.1 TFLOP/s
         of 2 CPU cores 3 and 5 days a run. The smaller budgets train nothing of it
Paper:   test error, median of three runs: CIFAR-10 gelu 7.89 %, relu 8.16 %, elu 8.41 %; CIFAR-100 gelu 20.74 %, relu
         21.77 %, elu 22.98 %. Training curves: curves.csv

The sets are prepared by their TFDS builders, which need TensorFlow once: pip install 'activation-ablations[tf]'.
Validation is the test split, since all training images are used for training. Accuracy is recorded, and the error is 1
minus accuracy; on training batches only the loss is recorded, without the L2 penalty that the authors' code for
CIFAR-100 includes.

Differences from the authors' code: the learning rate of CIFAR-10 decreases every step instead of every epoch; images of
CIFAR-100 are mirrored at random instead of appending a mirrored copy of each; batch normalization averages the variance
instead of its inverse square root.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from experiments.gelu_paper.paper import ACTIVATIONS, ADAM, LEARNING_RATES, Evaluate, curves, epochs
from lab.experiment.budget import Budget
from lab.experiment.experiment import Experiment
from lab.report.studies.reproduction import TOLERANCE, Panel, Reproduction, Verdict, compared, draw, verdict
from lab.results.excerpts import Excerpt
from lab.tasks.images import ImageClassification
from lab.training.settings import Hyperparameters, Settings
from models.convnet import ConvNet
from models.wide_resnet import WideResNet

TANH = "gelu is its tanh approximation, as in the authors' code"
TUNING, CIFAR10, CIFAR100 = "gelu_paper_cifar10_tuning", "gelu_paper_cifar10", "gelu_paper_cifar100"
EPOCHS10, EPOCHS100 = 200, 50
EPOCH10 = {True: 450, False: 500}
"""Held out or not -> steps: 45,000 or 50,000 images in batches of 100."""
EPOCH100 = {"doubled": 781, "plain": 390}
"""Steps: 100,000 or 50,000 images in batches of 128, without an incomplete last batch."""
ERRORS = {
    CIFAR10: {"GELU": 0.0789, "ReLU": 0.0816, "ELU": 0.0841},
    CIFAR100: {"GELU": 0.2074, "ReLU": 0.2177, "ELU": 0.2298},
}
"""The paper's test errors, medians of three runs."""


@dataclass(frozen=True)
class Cifar10:
    """Figure 5: nine convolutions with batch normalization, Adam, 200 epochs of whitened images."""

    needs = (CIFAR10,)

    learning_rate: float = 1e-3
    """Learning rate for training on all 50,000 images, the default of the authors' code. The paper's rates were tuned
    per activation with 5000 images held out, and are not stated. The first experiment tests if this is the best of
    three."""

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """Two experiments: all learning rates with 5000 images held out, on a separate seed, and one on all images."""
        if budget != "full":
            return ()
        tuning = Experiment(
            name=TUNING,
            question="Which learning rate suits each activation on CIFAR-10?",
            task=ImageClassification("cifar10", preparation="zca"),
            model=ConvNet(normalization="batch", input_noise=0.15),
            activations=ACTIVATIONS,
            baseline="gelu_tanh",
            learning_rates=LEARNING_RATES,
            seeds=(3,),
            metric="accuracy",
            settings=cifar10_settings(EPOCH10[True]),
            # The authors' Adam has 1e-8 inside the root, which equals 1e-4 outside it.
            hyperparameters=replace(ADAM, eps_root=1e-8),
        )
        whole = replace(
            tuning,
            name=CIFAR10,
            question="Do GELU networks err less than ReLU and ELU networks on CIFAR-10?",
            task=replace(tuning.task, held_out=False),
            learning_rates=(self.learning_rate,),
            seeds=(0, 1, 2),
            split="test",
            published=published(CIFAR10),
            settings=cifar10_settings(EPOCH10[False]),
        )
        return tuning, whole

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Test error in percent against epochs, and at the end."""
        published = curves("cifar10", evaluated="test").query("split == 'test'")  # for training, ours has only the loss
        ours = errors(excerpts[CIFAR10].rows, EPOCH10[False])
        at = (25, 50, 75, 100, 125, 150, 175, 200)
        panel = Panel("CIFAR-10", published, ours, at, above=10, unit="error, %")
        notes = (f"learning rate {self.learning_rate:g} for all activations", TANH)
        return shown("CIFAR-10", CIFAR10, panel, ours, notes)


@dataclass(frozen=True)
class Cifar100:
    """Figure 6: WRN-40-4, Nesterov's momentum, a cosine to zero over 50 epochs."""

    needs = (CIFAR100,)

    epoch: Literal["doubled", "plain"] = "doubled"
    """Length of an epoch: 100,000 images, half of them mirrored, as in the authors' code; or the 50,000 originals."""
    weight_decay: float = 1e-3
    """Factor of the weights in the gradient: 1e-3 in the authors' code, where 5e-4 multiplies the sum of squares; 5e-4
    is usual for wide residual networks."""

    def experiments(self, budget: Budget) -> tuple[Experiment, ...]:
        """One experiment: one cell per activation."""
        if budget != "full":
            return ()
        task = ImageClassification(
            "cifar100", held_out=False, classes=100, preparation="mean", augmentation="mirror_crop"
        )
        steps = EPOCH100[self.epoch]
        return (
            Experiment(
                name=CIFAR100,
                question="Do GELU networks err less than ReLU and ELU networks on CIFAR-100?",
                task=task,
                model=WideResNet(),
                activations=ACTIVATIONS,
                baseline="gelu_tanh",
                seeds=(0, 1, 2),
                learning_rates=(0.1,),
                metric="accuracy",
                split="test",
                published=published(CIFAR100),
                settings=Settings(
                    steps=EPOCHS100 * steps,
                    batch_size=128,
                    optimizer="sgd",
                    regularization="l2",
                    schedule="cosine",
                    final_ratio=0.0,
                    warmup_steps=0,
                    evaluate_every=steps,
                    matmul_precision="highest",
                ),
                hyperparameters=Hyperparameters(weight_decay=self.weight_decay, b1=0.9, clip_norm=float("inf")),
            ),
        )

    def measurements(self, budget: Budget, evaluate: Evaluate) -> dict[str, pd.DataFrame]:
        """Nothing except the curves."""
        return {}

    def reproduction(self, excerpts: Mapping[str, Excerpt]) -> Reproduction:
        """Log loss against epochs, training and test, and the test errors at the end."""
        rows, epoch = excerpts[CIFAR100].rows, EPOCH100[self.epoch]
        losses = epochs(rows[rows["split"] != "test"].replace({"split": {"validation": "test"}}), epoch)
        at = (5, 10, 20, 30, 40, 45, 50)
        panel = Panel("CIFAR-100", curves("cifar100", evaluated="test"), losses, at, above=3, unit="log loss")
        notes = (
            f"epochs are {self.epoch}, {epoch} steps; weight decay {self.weight_decay:g}",
            "the paper's training curve probably includes the L2 penalty, ours does not",
            TANH,
        )
        return shown("CIFAR-100", CIFAR100, panel, errors(rows, epoch), notes)


def errors(rows: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """Test errors in percent, in the form of a panel; the split called validation is the test split."""
    found = epochs(rows[rows["split"] == "validation"], epoch, "accuracy")
    return found.assign(split="test", value=100 * (1 - found["value"]))


def shown(title: str, name: str, panel: Panel, ours: pd.DataFrame, notes: tuple[str, ...]) -> Reproduction:
    """The panel with its table, and the test errors at the end beside the paper's."""
    last = ours[ours["epoch"] == ours["epoch"].max()]
    medians = last.groupby("activation")["value"].median()
    table = compared(panel)
    return Reproduction(title, draw([panel]), table, (verdict(table, title), final(name, medians)), notes)


def final(name: str, medians: pd.Series) -> Verdict:
    """Whether the final median test errors, in percent, agree with the paper's within tolerance, in the same order."""
    paper = pd.Series({arm.lower(): 100 * error for arm, error in ERRORS[name].items()})
    known = paper.index.intersection(medians.index)
    near = (medians[known] / paper[known] - 1).abs() <= TOLERANCE
    same = list(medians[known].sort_values().index) == list(paper[known].sort_values().index)
    outcome = "reproduced" if near.all() and same else "partly" if near.any() or same else "not reproduced"
    words = ", ".join(f"{arm} {medians[arm]:.2f} % (the paper {paper[arm]:.2f} %)" for arm in known)
    return Verdict("test errors at the end", outcome, f"{words}; {'the same' if same else 'another'} order")


def cifar10_settings(epoch: int) -> Settings:
    """Adam for 200 epochs; in the second half the learning rate falls to zero and b1 is 0.5."""
    steps = EPOCHS10 * epoch
    return Settings(
        steps=steps,
        batch_size=100,
        optimizer="adam",
        schedule="wsd",
        warmup_steps=0,
        decay_steps=steps // 2,
        late_b1=0.5,
        evaluate_every=epoch,
        matmul_precision="highest",
    )


def published(experiment: str) -> tuple[tuple[str, float], ...]:
    """The paper's accuracies on the test split."""
    return tuple((f"{name}, the paper", round(1 - error, 4)) for name, error in ERRORS[experiment].items())
