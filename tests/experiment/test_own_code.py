"""A changed function, model, task or data set is seen where results lie that were made with the old one."""

import json
from dataclasses import dataclass, replace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.data.dataset import Dataset
from lab.experiment import library
from lab.experiment.experiment import Experiment, grid
from lab.experiment.serialization import ours
from lab.results.cells import CellDirectory, changed_code
from lab.runner import plan
from lab.training.settings import Settings
from models.activations import Activation, activation
from models.transformer import Transformer


def network(constant=1.0, dropout=0.0, start=nn.initializers.zeros):
    """A class of a network of one's own; each call makes a new one."""

    class Own(nn.Module):
        activation: Activation = activation("gelu")
        width: int = 4

        def check(self, context):
            """Takes any length."""

        @nn.compact
        def __call__(self, x, *, train=False):
            hidden = constant * self.activation(nn.Dense(self.width, bias_init=start, name="up")(x))
            hidden = nn.Dropout(dropout, deterministic=not train, name="dropout")(hidden)
            return nn.Dense(1, name="down")(hidden)

    return Own


def problem(power=2, noise=0, scale=1.0, order=1):
    """A class of a task of one's own."""

    @dataclass(frozen=True)
    class Curve:
        points: int = 16

        name = "curve"
        tokens_per_example = 1

        def load(self, data_dir=None):
            x = np.linspace(-1, 1, self.points, dtype=np.float32)[:, None]
            y = np.sin(3 * x)
            y[3] += noise
            return Dataset({key: {"x": x, "y": y} for key in ("train", "validation", "test")}, {"name": "curve"})

        def check(self, dataset):
            """Fits."""

        def batch(self, arrays, seed, step, batch_size):
            index = (order * jnp.arange(batch_size) + seed + step) % self.points
            return {"x": jnp.asarray(arrays["x"])[index], "y": jnp.asarray(arrays["y"])[index]}

        def inputs(self, batch):
            return (batch["x"],)

        def loss(self, outputs, batch):
            return jnp.mean(jnp.abs(outputs - batch["y"]) ** power)

        def evaluation_batches(self, arrays, batch_size):
            return {name: array.reshape(-1, batch_size, 1) for name, array in arrays.items()}

        def metrics(self, outputs, batch):
            loss = optax.l2_loss(outputs, batch["y"])
            return {"loss": (scale * jnp.sum(loss), jnp.float32(loss.size))}

        def summary(self, means):
            return dict(means)

    return Curve


def asked(model=None, task=None, activations=("gelu", "relu"), **fields):
    return Experiment(
        name="own",
        question="Whose?",
        task=(task or problem())(),
        model=model or network()(),
        activations=activations,
        settings=Settings(steps=4, batch_size=4, evaluate_every=2),
        **fields,
    )


def load(task):
    return task.load()


def written(experiment, directory):
    """The directory as it is when its cells have begun."""
    for cell in grid(experiment):
        dataset = load(cell.task)
        plan.cell_directory(directory, cell).describe(cell.description(dataset), cell.own_code(dataset))


def check(experiment, directory):
    plan.check_code(grid(experiment), directory, load)


@pytest.mark.parametrize(
    ("now", "part"),
    [
        ({"model": network(constant=1.001)()}, r"model '.*Own'"),
        ({"model": network(dropout=0.1)()}, r"model '.*Own'"),
        ({"model": network(start=nn.initializers.constant(0.001))()}, r"model '.*Own'"),
        ({"task": problem(power=3)}, r"task '.*Curve'"),
        ({"task": problem(scale=2.0)}, r"task '.*Curve'"),
        ({"task": problem(order=3)}, r"task '.*Curve'"),
        ({"task": problem(noise=0.001)}, "train.y"),
        ({"activations": ("gelu", "silu"), "model": network(constant=2.0)()}, r"model '.*Own'"),
        ({"activations": ("silu",), "model": network(constant=2.0)()}, r"model '.*Own'"),
    ],
)
def test_what_has_changed_is_named(tmp_path, now, part):
    written(asked(), tmp_path)
    check(asked(model=network()(), task=problem()), tmp_path)  # the same, written down again
    check(asked(activations=("silu",)), tmp_path)
    with pytest.raises(ValueError, match=part) as refused:
        check(asked(**now), tmp_path)
    assert str(tmp_path / "cells") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def mine():
    return [Activation("mine", lambda x, n=n: x**n) for n in (2, 3)]


def test_a_changed_activation_is_named_whatever_else_is_asked(tmp_path, mine):
    written(asked(activations=(mine[0],)), tmp_path)
    with pytest.raises(ValueError, match="activation 'mine'"):
        check(asked(model=network()(width=8), activations=("gelu", mine[1])), tmp_path)
    (folder,) = (tmp_path / "cells").iterdir()
    (cell,) = grid(asked(activations=(mine[1],)))
    assert cell.name == folder.name
    with pytest.raises(ValueError, match="activation 'mine'"):
        CellDirectory(folder).describe({}, {"activation": mine[1].identity})


@pytest.mark.parametrize(
    "form",
    [{"activation": "mine", "model": {"activation": {"name": "mine", "source": "1f" * 32}}}],
)
def test_what_was_written_before_says_so(form, mine):
    found = changed_code(form, {"activation": mine[0].identity}, ("activation",))
    assert "'mine'" in found
    assert "record" in found


def test_another_version_of_jax_goes_on(tmp_path, mine):
    experiment = asked(activations=(mine[0],))
    written(experiment, tmp_path)
    (path,) = tmp_path.glob("cells/*/cell.json")
    known = json.loads(path.read_text())
    for code in known["own_code"].values():
        code |= {"program": "elsewhere", "traced_by": {"jax": "0.9.0"}}
    path.write_text(json.dumps(known))
    check(experiment, tmp_path)
    (cell,) = grid(experiment)
    plan.cell_directory(tmp_path, cell).describe(cell.description(load(cell.task)), cell.own_code(load(cell.task)))
    known["own_code"]["model"]["values"][-1] = 5.0
    path.write_text(json.dumps(known))
    with pytest.raises(ValueError, match=r"model '.*Own'"):
        check(experiment, tmp_path)


def test_what_is_not_pure_is_refused():
    drawn = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"the model Own.*again"):
        grid(asked(model=network(constant=Drawing(drawn))()))[0].own_code(load(problem()()))


class Drawing:
    """A number that is another each time."""

    def __init__(self, generator):
        self.generator = generator

    def __mul__(self, other):
        return self.generator.random() * other


def test_what_is_built_in_goes_by_its_fields():
    for name in library.catalogue():
        experiment = library.find(name)
        assert ours((experiment.task, experiment.model, experiment.settings)), name


def test_known_cells_keep_their_folders():
    # See test_the_hash_is_the_same_in_every_version.
    known = ("quickstart-relu-9ddb921f", "fashion_vit-gelu-639489c8", "t5_spans-relu-ca721774", "tweets-gelu-438470d0")
    for name in known:
        experiment, _, cell = name.partition("-")
        asked = library.find(experiment)
        then = replace(asked, settings=replace(asked.settings, final_evaluation=0.0))
        assert grid(then)[0].name == cell


def test_a_folder_knows_a_users_own_by_name_alone(mine):
    cells = [grid(asked(model=Transformer(), activations=(one,)))[0] for one in mine]
    assert cells[0].name == cells[1].name
    assert cells[0] != replace(cells[0], model=replace(cells[0].model, activation=mine[1]))
