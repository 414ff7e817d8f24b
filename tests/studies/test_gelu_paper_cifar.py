"""The two networks of CIFAR in the GELU paper: what is declared, and that both learn made-up images."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments.gelu_paper.cifar import Cifar10, Cifar100
from lab.data.dataset import Dataset
from lab.experiment.experiment import grid
from lab.training.optimizers import unit_schedule
from lab.training.settings import Run
from lab.training.train import train


def declared(figure):
    return figure.experiments("full")


@pytest.mark.parametrize("figure", [Cifar10(), Cifar100()])
def test_only_the_full_budget_trains_and_what_it_declares_is_allowed(figure):
    assert figure.experiments("smoke") == figure.experiments("short") == ()
    for experiment in declared(figure):
        experiment.check()


def test_cifar10_is_tuned_with_images_held_out_and_trained_on_all():
    tuning, whole = declared(Cifar10(learning_rate=1e-4))
    assert (tuning.task.held_out, whole.task.held_out) == (True, False)
    assert len(grid(tuning)[0].runs) == 3
    assert {run.hyperparameters.learning_rate for run in grid(whole)[0].runs} == {1e-4}
    assert not set(tuning.seeds) & set(whole.seeds)


def test_the_learning_rate_of_cifar10_is_that_of_the_authors():
    settings = declared(Cifar10())[1].settings
    epochs = np.array([0, 50, 100, 150, 199])
    rates = jax.vmap(unit_schedule(settings))(500 * epochs)
    np.testing.assert_allclose(rates, np.minimum(2 - epochs / 100, 1), atol=1e-4)


def test_the_learning_rate_of_cifar100_is_a_cosine_to_zero():
    settings = declared(Cifar100())[0].settings
    assert settings.steps == 39_050
    steps = np.array([0, 10_000, 30_000, 39_049])
    rates = jax.vmap(unit_schedule(settings))(steps)
    np.testing.assert_allclose(rates, (1 + np.cos(np.pi * steps / 39_050)) / 2, atol=1e-4)
    assert declared(Cifar100(epoch="plain"))[0].settings.steps == 19_500


def pictures(size, seed, shape):
    """Stripes across, stripes down, a chessboard or nothing, under noise."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 4, size).astype(np.int32)
    row, column = np.indices(shape[:2]) // 2 % 2
    patterns = 150 * np.stack([row, column, row ^ column, 0 * row])
    image = patterns[label][..., None] + draw.integers(0, 60, (size, *shape))
    return {"image": image.astype(np.uint8), "label": label}


STEPS = 80
SHORTER = {"widths": (8, 8), "kernels": (3, 1), "padding": (0, 0), "pool_after": (1,), "classes": 4}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "shape", "model"),
    [
        pytest.param(declared(Cifar10())[1], (28, 28, 1), SHORTER | {"channels": 1}, id="fashion_mnist"),
        pytest.param(declared(Cifar10())[1], (32, 32, 3), SHORTER, id="cifar10"),
        pytest.param(
            declared(Cifar100())[0],
            (32, 32, 3),
            {"depth": 10, "widening": 1, "stem": 4, "classes": 4},
            id="cifar100",
        ),
    ],
)
def test_both_networks_learn_made_up_images(experiment, shape, model, tmp_path, monkeypatch):
    arrays = {split: pictures(size, size, shape) for split, size in (("train", 64), ("test", 8))}
    arrays["validation"] = arrays["test"]
    monkeypatch.setattr("lab.tasks.images.images", lambda name, data_dir: Dataset(arrays, {"name": name}))
    # Whitening 3072 numbers takes half a minute; tests/tasks/test_images.py has it smaller.
    task = replace(experiment.task, classes=4, held_out=True, preparation="mean")
    small = {"steps": STEPS, "batch_size": 16, "evaluate_every": STEPS // 4}
    if experiment.settings.decay_steps:
        small["decay_steps"] = STEPS // 2
    settings = replace(experiment.settings, **small)
    network = experiment.model.clone(**model)
    rate = 0.01 if settings.optimizer == "adam" else 0.05
    runs = [Run(0, replace(experiment.hyperparameters, learning_rate=rate))]
    rows = []
    train(network, task, settings, runs, tmp_path, task.load(), watch=lambda step, found: rows.extend(found))
    losses = {row["step"]: row["value"] for row in rows if row["split"] == "train" and row["metric"] == "loss"}
    assert losses[STEPS] < 0.9 * losses[STEPS // 4]
