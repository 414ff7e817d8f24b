"""A run begins with a trained network, as it was or swapped; what does not fit is refused before training."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from refusals import refused

import ablations
from lab.experiment.experiment import Experiment, grid
from lab.experiment.fine_tuning import initialized_from
from lab.experiment.init_from import InitFrom, initial_parameters, locate
from lab.runner.networks.sources import initializers
from lab.tasks.classification import TextClassification
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from lab.training.step import State
from models import pretrained
from models.classifier import classifier
from models.families import family
from models.transformer import Transformer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a cell whose networks have seeds 0 and 1, and its experiment."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus.txt").write_text("the quick brown fox jumps over the lazy dog. " * 300)
    experiment = Experiment(
        name="trained",
        question="What does it begin with?",
        task=CausalLanguage(data=f"text:{folder}/corpus.txt", context=8, evaluation_windows=8),
        model=Transformer(context=8, d_model=8, n_layers=1, n_heads=2, match="width", feedforward_bias=True),
        activations=("gelu",),
        seeds=(0, 1),
        settings=Settings(steps=3, batch_size=4),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
    )
    ablations.run(experiment, folder / "out", quiet=True)
    return folder / "out" / "cells" / grid(experiment)[0].name, experiment


def losses(directory, step):
    """Validation losses of a step, by activation and seed."""
    rows = ablations.load(directory)
    chosen = rows[(rows["split"] == "validation") & (rows["metric"] == "loss") & (rows["step"] == step)]
    return chosen.set_index(["activation", "seed"])["value"]


@pytest.mark.slow
def test_runs_go_on_from_the_networks_of_their_seeds_as_they_were_or_swapped(trained, tmp_path):
    folder, experiment = trained
    again = replace(experiment, activations=("gelu", "geglu", "relu"), init_from=locate(folder))
    ablations.run(again, tmp_path, quiet=True)
    ended, begins = losses(folder.parent.parent, 3), losses(tmp_path, 0)
    for seed in (0, 1):
        np.testing.assert_allclose(begins["gelu", seed], ended["gelu", seed], rtol=1e-6)
        np.testing.assert_allclose(begins["geglu", seed], ended["gelu", seed], rtol=1e-5)
        assert abs(begins["relu", seed] - ended["gelu", seed]) > 1e-4
        assert losses(tmp_path, 3)["gelu", seed] < begins["gelu", seed]


@pytest.mark.slow
def test_what_is_trained_does_not_need_its_start_any_more(trained, tmp_path):
    folder, experiment = trained
    shutil.copytree(folder, tmp_path / "moved")
    again = replace(experiment, init_from=locate(tmp_path / "moved"))
    ablations.run(again, tmp_path / "out", quiet=True)
    shutil.rmtree(tmp_path / "moved")
    assert len(ablations.run(again, tmp_path / "out", quiet=True).cells) == 1
    with pytest.raises(FileNotFoundError, match="moved is no trained network"):
        ablations.run(replace(again, seeds=(0, 1, 2)), tmp_path / "out", quiet=True)
    with pytest.raises(FileNotFoundError, match="moved is no trained network"):
        ablations.run(again, tmp_path / "out", retrain=True, quiet=True)


@pytest.mark.slow
def test_a_hugging_face_folder_is_the_start_of_every_seed(trained, tmp_path):
    _, experiment = trained
    model = experiment.model.clone(feedforward_bias=None, activation="gelu_tanh", norm="layernorm", bias=True)
    params = model.init(jax.random.key(5), np.zeros((1, 8), np.int32))["params"]
    pretrained.save(tmp_path / "hf", model, params)
    asked = replace(
        experiment,
        model=model,
        activations=("gelu_tanh",),
        baseline="gelu_tanh",
        init_from=locate(tmp_path / "hf"),
        settings=Settings(steps=1, batch_size=4),
    )
    ablations.run(asked, tmp_path / "out", quiet=True)
    begins = losses(tmp_path / "out", 0)
    assert begins["gelu_tanh", 0] == begins["gelu_tanh", 1]


def test_where_the_weights_lie_does_not_name_the_cell(trained):
    folder, experiment = trained
    start = locate(folder)
    moved = InitFrom(start.weights, "elsewhere")
    assert start == moved
    cells = [
        grid(replace(experiment, init_from=one))[0].name
        for one in (None, start, moved, InitFrom("others", "elsewhere"))
    ]
    assert cells[1] == cells[2]
    assert len(set(cells)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": (0, 1, 2)}, "no network of seed 2: it has 0 1"),
        ({"init_from": "other weights"}, "holds the network gelu-[0-9a-f]{8}, not gelu-00000000, which"),
        ({"model": "wider"}, r"has the shape \(16,\), and the network of gelu-\w+ has the shape \(8,\)"),
        ({"model": "deeper"}, "layer_1/.* lacks it"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_anything_is_trained(trained, tmp_path, change, message):
    folder, experiment = trained
    own = {
        "other weights": InitFrom("gelu-00000000", str(folder)),
        "wider": experiment.model.clone(d_model=16),
        "deeper": experiment.model.clone(n_layers=2),
    }
    change = {name: own.get(value, value) if isinstance(value, str) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        ablations.run(replace(experiment, **{"init_from": locate(folder), **change}), tmp_path / "out", quiet=True)
    assert not list(tmp_path.glob("out/cells/*/runs-*"))


def test_a_folder_without_a_network_is_refused_and_its_cells_named(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(FileNotFoundError, match=f"neither a cell .*: {folder.name}"):
        locate(folder.parent.parent)


def test_only_a_head_and_biases_may_be_drawn(trained):
    _, experiment = trained
    model = experiment.model.clone(tied=False)
    params = model.init(jax.random.key(0), np.zeros((1, 8), np.int32))["params"]
    drawn = jax.tree.map(np.zeros_like, params)
    small = {**params, "head": {"kernel": params["head"]["kernel"][:, :5]}}
    found = initial_parameters(InitFrom("", ""), model, small, model, drawn)
    assert not found["head"]["kernel"].any()
    assert found["token_embedding"]["embedding"].any()
    del small["token_embedding"]
    with pytest.raises(ValueError, match=r"token_embedding/embedding .* lacks it"):
        initial_parameters(InitFrom("", ""), model, small, model, drawn)


@pytest.mark.slow
def test_every_arm_may_begin_with_networks_of_its_own_activation(trained, tmp_path):
    folder, experiment = trained
    results = folder.parent.parent
    again = initialized_from(experiment, results)
    assert [cell.init_from for cell in grid(again)] == [locate(folder)]
    rows = ablations.run(again, tmp_path, quiet=True).rows
    assert set(rows["activation"]) == {"gelu"}
    for seed in (0, 1):
        np.testing.assert_allclose(losses(tmp_path, 0)["gelu", seed], losses(results, 3)["gelu", seed], rtol=1e-6)
    evaluated = ablations.evaluate(
        again, lambda cell, run, variables, test: [{"init_from": cell.init_from.weights}], tmp_path
    )
    assert set(evaluated["init_from"]) == {folder.name}
    with refused("relu", "gelu"):
        initialized_from(replace(experiment, activations=("gelu", "relu")), results)


@pytest.fixture
def labelled(tmp_path):
    """A folder of texts with labels."""
    for label, word in (("cats", "cat "), ("dogs", "dog ")):
        (tmp_path / "texts" / label).mkdir(parents=True)
        for index in range(40):
            (tmp_path / "texts" / label / f"{index}.txt").write_text(word * (3 + index % 5))
    return f"folder:{tmp_path / 'texts'}"


def test_a_classifier_begins_with_an_encoder_and_a_head_of_its_own(tmp_path, labelled):
    task = TextClassification(data=labelled, classes=2, context=8)
    sizes = {"vocab_size": 257, "context": 8, "d_model": 8, "n_layers": 1, "n_heads": 2}
    encoder = family("bert", "base", **sizes)
    params = encoder.init(jax.random.key(3), np.zeros((1, 8), np.int32))["params"]
    pretrained.save(tmp_path / "bert", encoder, params)
    asked = Experiment(
        name="classes",
        question="Cat or dog?",
        task=task,
        model=classifier(Transformer(architecture="encoder", **sizes), 2, "mean"),
        activations=("gelu",),
        seeds=(0,),
        settings=Settings(steps=1, batch_size=4),
    )
    experiment = initialized_from(asked, tmp_path / "bert")
    assert experiment.model.placement == "post"
    (cell,) = grid(experiment)
    begin = initializers([cell], tmp_path, lambda task: task.load())[cell.name]
    drawn = cell.model.init(jax.random.key(0), np.zeros((1, 8), np.int32))["params"]
    found = begin(cell.runs[0], State(drawn, (), {})).parameters
    np.testing.assert_array_equal(found["token_embedding"]["embedding"], params["token_embedding"]["embedding"])
    ours, theirs = (tree["layer_0"]["feedforward"]["up"]["kernel"] for tree in (found, params))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found["head"]["kernel"], drawn["head"]["kernel"])
