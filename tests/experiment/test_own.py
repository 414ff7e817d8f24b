"""A model, a task and activations of one's own: trained, compared, swapped, started from; their code is never looked
for in a results folder."""

import dataclasses
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ablations
from lab.data.dataset import SPLITS, Dataset
from lab.experiment.cell import Cell
from lab.experiment.experiment import Experiment, grid, with_overrides
from lab.experiment.fields import field_types
from lab.experiment.init_from import InitFrom, initial_parameters, locate
from lab.experiment.library import find
from lab.experiment.serialization import canonical, code_of, restored
from lab.results.record import read_record
from lab.runner.networks.sources import opened
from lab.tasks.task import Task, completed
from lab.training.settings import Hyperparameters, Settings
from models.activations import Activation
from models.layers.feedforward import FeedForward
from models.transformer import Transformer


class Plain(nn.Module):
    """As Flax has it: nothing of ours but the name of a field, and no `train`."""

    activation: Any = "gelu"
    width: int = 8

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name="head")(self.activation(nn.Dense(self.width, name="hidden")(x)))


class Noisy(nn.Module):
    """With an argument `train`, batch statistics, and a layer that takes any activation."""

    activation: Any = "gelu"

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.Dropout(0.5, deterministic=not train, name="dropout")(x)
        return nn.Dense(1, name="head")(FeedForward(self.activation, 8, name="feedforward")(x))


@dataclass(frozen=True)
class Line:
    """The least that a task is."""

    slope: float = 1.0

    def load(self):
        x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
        return Dataset({split: {"x": x, "y": self.slope * x.sum(axis=1)} for split in SPLITS})

    def inputs(self, batch):
        return (batch["x"],)

    def loss(self, outputs, batch):
        return jnp.mean(jnp.square(outputs[:, 0] - batch["y"]))


def own(**fields):
    about = {"name": "own", "question": "Does it work?", "task": Line(), "model": Plain()}
    about |= {"activations": ("gelu", "relu"), "seeds": (0, 1), "settings": Settings(steps=4, batch_size=4)}
    return Experiment(**{**about, "hyperparameters": Hyperparameters(learning_rate=0.03), **fields})


def losses(directory, step):
    rows = ablations.load(directory)
    chosen = rows[(rows["split"] == "validation") & (rows["metric"] == "loss") & (rows["step"] == step)]
    return chosen.set_index(["activation", "seed"])["value"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of results of `own()`."""
    folder = tmp_path_factory.mktemp("own") / "out"
    ablations.run(own(), folder, quiet=True)
    return folder


def test_a_plain_module_and_task_are_trained_and_compared(trained):
    compared = ablations.compare(trained)
    assert [arm.activation for arm in compared.arms] == ["relu"]
    assert [arm.n for arm in compared.arms] == [2]
    assert "relu" in str(compared)
    assert (losses(trained, 4) < losses(trained, 0)).all()
    record = json.loads(next(trained.glob("cells/gelu-*/cell.json")).read_text())
    assert record["model"]["type"] == "test_own:Plain"
    assert record["task"]["type"] == "test_own:Line"


def test_the_evaluated_loss_is_the_mean_over_the_examples_without_padding(trained):
    """20 examples in batches of 8: the last is padded by 4."""
    experiment = own()
    cell = grid(experiment)[0]
    rows = ablations.evaluate(experiment, direct, trained, lambda cell, run: cell.activation.name == "gelu")
    np.testing.assert_allclose(rows["loss"], losses(trained, 4)["gelu"], rtol=1e-5)
    arrays = cell.task.load().arrays["test"]
    batch = {name: jnp.asarray(array[-1]) for name, array in cell.task.evaluation_batches(arrays, 8).items()}
    total, weight = cell.task.metrics(jnp.full((8, 1), jnp.nan).at[:4].set(0.0), batch)["loss"]
    np.testing.assert_allclose(total, np.square(arrays["y"][16:]).sum(), rtol=1e-5)
    assert weight == 4


def direct(cell, run, variables, test):
    return [{"loss": float(cell.task.loss(cell.model.apply(variables, *cell.task.inputs(test)), test))}]


def test_it_is_swapped_with_its_experiment_and_refused_without(trained, tmp_path):
    cell = next(trained.glob("cells/gelu-*"))
    with pytest.raises(ValueError, match="test_own:") as refused:
        ablations.swap(cell, "relu", out=tmp_path / "swap")
    assert "--experiment" in str(refused.value)
    assert "\n" not in str(refused.value)
    rows = ablations.swap(cell, "relu", out=tmp_path / "swap", experiment=own())
    values = rows[rows["measure"] == "loss_difference"]["value"]
    assert len(values) == 2
    assert (values.abs() > 1e-6).all()
    assert (tmp_path / "swap" / "index.html").exists()


@pytest.mark.parametrize("change", [{"activation": "swiglu"}, {"activation": "prelu"}, {"norm": "rmsnorm"}])
def test_what_a_swap_cannot_do_with_it_is_said(trained, tmp_path, change):
    cell = next(trained.glob("cells/gelu-*"))
    with pytest.raises(ValueError, match="Plain"):
        ablations.swap(cell, **change, out=tmp_path / "swap", experiment=own())


def test_it_is_started_from(trained, tmp_path):
    start = locate(next(trained.glob("cells/gelu-*")))
    ablations.run(own(init_from=start), tmp_path, quiet=True)
    ended, begun = losses(trained, 4), losses(tmp_path, 0)
    for seed in (0, 1):
        np.testing.assert_allclose(begun["gelu", seed], ended["gelu", seed], rtol=1e-6)
        assert abs(begun["relu", seed] - ended["gelu", seed]) > 1e-6


def test_what_another_activation_learns_begins_as_drawn():
    one, other = Noisy(Activation("bent", lambda x, a: a * jnp.tanh(x), parameters=(("a", 1.0),))), Noisy("prelu")
    target = other.clone(activation=grid(own(activations=("prelu",)))[0].activation)
    x = np.ones((1, 3), np.float32)
    params, drawn = (model.init(jax.random.key(seed), x)["params"] for seed, model in enumerate((one, target)))
    found = initial_parameters(InitFrom("weights"), one, params, target, drawn)
    assert set(found["feedforward"]) == set(drawn["feedforward"])
    assert found["feedforward"]["activation_slope"] == drawn["feedforward"]["activation_slope"]
    np.testing.assert_array_equal(found["head"]["kernel"], params["head"]["kernel"])


@pytest.mark.slow
def test_dropout_statistics_and_every_kind_of_activation_are_trained(tmp_path):
    learned = Activation("bent", lambda x, a: a * jnp.tanh(x), parameters=(("a", 1.0),))
    ablations.run(own(model=Noisy(), activations=("gelu", learned, "swiglu", "prelu")), tmp_path, quiet=True)
    assert len(ablations.compare(tmp_path).arms) == 3
    again = own(model=Noisy(), activations=("gelu", learned), init_from=locate(next(tmp_path.glob("cells/bent-*"))))
    ablations.run(again, tmp_path / "again", quiet=True)
    assert (losses(tmp_path / "again", 0)["bent"] < losses(tmp_path, 0)["bent"]).all()
    with pytest.raises(ValueError, match="batch_stats"):
        ablations.swap(
            next(tmp_path.glob("cells/gelu-*")), "relu", out=tmp_path / "swap", experiment=own(model=Noisy())
        )


class WithoutField(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, x):
        return x


@dataclass(frozen=True)
class WithoutLoss:
    def load(self):
        return Line().load()

    def inputs(self, batch):
        return (batch["x"],)


@dataclass(frozen=True)
class Inherited(Task):
    """What is inherited of the protocol itself says nothing."""

    def load(self, data_dir=None):
        return Line().load()

    def inputs(self, batch):
        return (batch["x"],)


@dataclass
class Mutable:
    load, inputs, loss = Line.load, Line.inputs, Line.loss


@dataclass(frozen=True)
class Vector(Line):
    def loss(self, outputs, batch):
        return jnp.square(outputs[:, 0] - batch["y"])


@dataclass(frozen=True)
class Halved(Line):
    def load(self):
        return Dataset({"train": Line().load().arrays["train"]})


class Fielded(nn.Module):
    activation: Any = "gelu"
    sizes: Any = frozenset({1})

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(self.activation(x))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": WithoutField()}, ["WithoutField", "'activation'"]),
        ({"model": Plain}, ["Plain()"]),
        ({"model": "gelu"}, ["'gelu'", "Flax module"]),
        ({"task": Line}, ["Line()"]),
        ({"task": object()}, ["dataclass"]),
        ({"task": WithoutLoss()}, ["WithoutLoss", "loss"]),
        ({"task": Inherited()}, ["Inherited", "loss"]),
        ({"task": Mutable()}, ["Mutable", "frozen=True"]),
        ({"task": Vector()}, ["Vector", "one number"]),
        ({"task": Halved()}, ["Halved", "validation"]),
        ({"model": Fielded()}, ["model.sizes", "Fielded"]),
        ({"activations": ("gelu", "swiglu")}, ["Plain", "'swiglu'", "FeedForward"]),
        ({"activations": ("gelu", "prelu")}, ["Plain", "'prelu'", "FeedForward"]),
        ({"metric": "lost"}, ["'lost'", "'loss'"]),
    ],
)
def test_what_is_no_model_or_task_is_said_in_one_sentence(fields, named):
    with pytest.raises(ValueError, match=re.escape(named[0])) as refused:
        own(**fields).check(lambda task: task.load())
    assert all(word in str(refused.value) for word in named), refused.value
    assert "\n" not in str(refused.value)


def test_a_task_keeps_what_it_defines():
    @dataclass(frozen=True)
    class Loud(Line):
        name: str = "loud"

        def summary(self, means):
            return {**means, "root": means["loss"] ** 0.5}

    task = completed(Loud())
    assert (task.name, task.tokens_per_example) == ("loud", 1)
    assert task.summary({"loss": 4.0})["root"] == 2
    assert isinstance(task, Loud)
    assert isinstance(task, Task)
    assert completed(task) is task
    assert completed(Loud()) == task
    assert hash(completed(Loud())) == hash(task)
    assert dataclasses.replace(task, slope=2.0) == completed(Loud(slope=2.0))
    assert canonical(task) == canonical(Loud())
    assert restored(canonical(task), code_of(Loud())) == Loud()


def test_code_comes_from_the_values_at_hand_alone(tmp_path):
    code = code_of(Line(), Plain(activation=Activation("cube", lambda x: x**3)))
    assert set(code) == {"test_own:Line", "test_own:Plain", "cube"}
    assert not code_of(Transformer(), Settings())
    form = canonical(Line(slope=2.0))
    assert restored(form, code) == Line(slope=2.0)
    (tmp_path / "imported_by_a_file.py").write_text("raise RuntimeError('imported')")
    sys.path.insert(0, str(tmp_path))
    try:
        for name in ("imported_by_a_file:Line", "subprocess:Popen", "os:system", "lab.training.settings:Settings"):
            with pytest.raises(ValueError, match=name):
                restored({**form, "type": name}, code)
    finally:
        sys.path.remove(str(tmp_path))


def test_a_model_that_computes_something_else_now_is_not_taken_for_the_old(trained, tmp_path):
    class Plain(nn.Module):
        activation: Any = "gelu"
        width: int = 8

        @nn.compact
        def __call__(self, x):
            return 2 * nn.Dense(1, name="head")(self.activation(nn.Dense(self.width, name="hidden")(x)))

    Plain.__qualname__ = "Plain"
    cell = next(trained.glob("cells/gelu-*"))
    with pytest.raises(ValueError, match=r"model .*Plain"):
        ablations.swap(cell, "relu", out=tmp_path, experiment=own(model=Plain()))


def test_a_field_may_be_a_dtype_or_an_initializer():
    class Typed(Plain):
        dtype: Any = jnp.float32
        init: Any = nn.initializers.ones

    model = Typed(init=nn.initializers.zeros)
    again = restored(canonical(model), code_of(model))
    assert (again.dtype, again.init) == (model.dtype, model.init)


FILE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Any
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ablations import Dataset, Experiment, Settings, run

class Mine(nn.Module):
    activation: Any = "gelu"

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name="head")(self.activation(nn.Dense(4, name="hidden")(x)))

@dataclass(frozen=True)
class Ours:
    scale: float = 1.0

    def load(self):
        x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2)
        return Dataset({split: {"x": self.scale * x} for split in ("train", "validation", "test")})

    def inputs(self, batch):
        return (batch["x"],)

    def loss(self, outputs, batch):
        return jnp.mean(jnp.square(outputs - batch["x"][:, :1]))

experiment = Experiment(name="mine", question="?", task=Ours(), model=Mine(), activations=("gelu", "relu"),
                        seeds=(0, 1), learning_rates=(1e-3,), settings=Settings(steps=2, batch_size=2))

if __name__ == "__main__":
    print(sorted(run(experiment, quiet=True).experiment["cells"]))
"""


def test_a_file_is_the_same_experiment_run_as_a_script_and_read_by_path(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(FILE)
    script = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert script.returncode == 0, script.stderr
    experiment = find(str(tmp_path / "mine.py"))
    assert script.stdout.strip() == str(sorted(cell.name for cell in grid(experiment)))
    assert canonical(experiment.model)["type"] == "mine:Mine"
    assert field_types(experiment)["task.scale"] is float
    out = str(tmp_path / "results" / "mine")
    ablations.run(str(tmp_path / "mine.py"), out, quiet=True)
    assert len(ablations.compare(out).arms) == 1
    cell = str(next((tmp_path / "results" / "mine" / "cells").glob("gelu-*")))
    asked = ["swap", cell, "--activation", "tanh", "--out", str(tmp_path / "swap")]
    assert ablations.main(asked) == 2
    said = capsys.readouterr().err
    assert "mine:Ours" in said
    assert said.count("\n") == 1
    assert ablations.main([*asked, "--experiment", str(tmp_path / "mine.py")]) == 0
    assert ablations.main(["run", str(tmp_path / "mine.py"), "--help"]) == 0
    assert "--task.scale" in capsys.readouterr().out


def test_a_cell_is_opened_with_its_code(trained):
    folder = next(trained.glob("cells/relu-*"))
    source = opened(folder, lambda task: task.load(), code=code_of(own().task, own().model))
    assert source.model.activation.name == "relu"
    assert set(source.parameters) == {0, 1}
    assert isinstance(Cell(source.task, source.model, Settings(), (), ()).task, Line)


def test_overrides_of_an_old_folder_have_the_fields_of_today(tmp_path):
    old = {"arm": {"activation": "gelu"}, "fields": {"start": {"type": "Start", "weights": "w"}}}
    record = json.loads((Path(__file__).parents[1] / "results_0_1_0" / "experiment.json").read_text())
    (tmp_path / "experiment.json").write_text(json.dumps({**record, "own": [old]}))
    (cell, _) = grid(with_overrides(own(), read_record(tmp_path)["overrides"]))
    assert cell.init_from == InitFrom("w")
