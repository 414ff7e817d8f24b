"""Experiment, Cell and grid: what becomes a cell, what a run, and what names them."""

import dataclasses
import os
import re
from dataclasses import replace

import pytest
from refusals import refused

from lab.experiment.experiment import Experiment, grid
from lab.experiment.fields import field_types, with_fields
from lab.experiment.library import catalogue, find
from lab.experiment.serialization import canonical, code_of, restored
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.activations import Activation, activation, glu_of
from models.transformer import Transformer

STATIC = (("model.norm", ("layernorm", "rmsnorm")), ("task.context", (4, 8)))
TRACED = (("hyperparameters.weight_decay", (0.0, 0.1)),)


def cube(x):
    return x**3


def test_one_cell_for_every_static_value_in_the_order_of_the_axes(experiment):
    cells = grid(replace(experiment, axes=STATIC))
    assert [(cell.activation.name, cell.model.norm, cell.task.context) for cell in cells] == [
        (name, norm, context) for name in ("gelu", "swiglu") for norm in ("layernorm", "rmsnorm") for context in (4, 8)
    ]
    assert cells[1].axes == (("norm", "layernorm"), ("context", 8))


def test_runs_are_seeds_and_traced_values_with_the_seed_fastest(experiment):
    cells = grid(replace(experiment, seeds=(3, 1), learning_rates=(1e-3, 3e-3), axes=TRACED))
    assert len(cells) == 2
    for cell in cells:
        runs = [(run.seed, run.hyperparameters.learning_rate, run.hyperparameters.weight_decay) for run in cell.runs]
        assert runs == [(seed, rate, decay) for decay in (0.0, 0.1) for rate in (1e-3, 3e-3) for seed in (3, 1)]


def test_without_learning_rates_there_is_that_of_the_hyperparameters(experiment):
    assert {run.hyperparameters.learning_rate for run in grid(experiment)[0].runs} == {1e-2}
    assert experiment.axis_names == ["activation"]
    assert replace(experiment, learning_rates=(1e-3, 3e-3), axes=STATIC).axis_names == [
        "activation",
        "norm",
        "context",
        "learning_rate",
    ]


def test_the_hash_is_the_same_in_every_version():
    # It names the folder in which results are looked for. If it moves because a field of the task, the model or the
    # settings was added, renamed or got another default, results made before are not found again: mean it, say so in
    # the commit, and put the new digits here. If nothing of this was changed, the canonical form broke: mend that.
    fields = {"task": CausalLanguage(), "model": Transformer(), "settings": Settings()}
    (cell,) = grid(Experiment(name="golden", question="", activations=("gelu",), **fields))
    assert cell.name == "gelu-87fe4850"
    as_before = replace(cell, settings=Settings(final_evaluation=0.0))
    assert as_before.name == "gelu-b0f15cac"  # of results that are older than the large last evaluation


def test_the_hash_does_not_depend_on_the_runs(experiment):
    other = replace(experiment, seeds=(7,), learning_rates=(0.1,), hyperparameters=Hyperparameters(b1=0.5))
    assert [cell.name for cell in grid(other)] == [cell.name for cell in grid(experiment)]


def test_the_hash_depends_on_every_static_field(experiment):
    whole = grid(experiment)[0]
    changed = [
        replace(whole, settings=replace(whole.settings, z_loss=0.1)),
        replace(whole, model=replace(whole.model, dropout=0.1)),
        replace(whole, task=replace(whole.task, context=4)),
        replace(whole, model=replace(whole.model, activation=activation("relu"))),
    ]
    assert len({cell.digest for cell in [whole, *changed]}) == 5


def test_canonical_forms():
    assert canonical(activation("swish")) == "silu"
    assert canonical(Activation("cube", cube)) == {"name": "cube"}
    assert canonical(glu_of(Activation("cube", cube)))["name"] == "cube_glu"
    assert canonical(Settings(steps=3))["type"] == "Settings"
    assert not {"parent", "name"} & set(canonical(Transformer()))
    with pytest.raises(TypeError, match="no canonical form"):
        canonical({1, 2})


def test_a_field_of_the_task_may_be_called_name():
    @dataclasses.dataclass(frozen=True)
    class Named:
        name: str

    form = canonical(Named("a"))
    assert form["name"] == "a"
    assert restored(form, code_of(Named("b")), ignore=("name",)) == Named("a")


def test_the_definition_is_without_what_varies(experiment):
    varied = replace(experiment, axes=STATIC, activations=("relu",), seeds=(9,), learning_rates=(0.1,))
    assert set(experiment.definition["model"]) - set(varied.definition["model"]) == {"norm"}
    assert set(experiment.definition["task"]) - set(varied.definition["task"]) == {"context"}
    assert "activation" not in experiment.definition["model"]
    assert varied.definition["settings"] == experiment.definition["settings"]
    rate = replace(varied.hyperparameters, learning_rate=0.5)
    wider = replace(varied, axes=(("model.norm", ("none",)), STATIC[1]), hyperparameters=rate)
    assert wider.definition == varied.definition
    assert replace(varied, hyperparameters=Hyperparameters(b2=0.9)).definition != varied.definition


def test_cell_names_are_names_of_folders(experiment):
    values = (0.1, "a/b", "../c", "text:/data/*.txt", "x" * 300, "ü b")
    cells = [replace(grid(experiment)[0], axes=(("data", value),)) for value in values]
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        assert re.fullmatch(r"gelu-[A-Za-z0-9._+-]{1,40}-[0-9a-f]{8}", cell.name)
        assert os.path.basename(cell.name) == cell.name


def test_fields_are_set_together_and_the_original_stays(experiment):
    @dataclasses.dataclass(frozen=True)
    class Ordered:
        low: int = 0
        high: int = 1

        def __post_init__(self):
            if self.low >= self.high:
                raise ValueError

    whole = replace(experiment, task=Ordered())
    changed = with_fields(whole, {"task.low": 5, "task.high": 6, "model.norm": "none", "seeds": (4,)})
    assert (changed.task, changed.model.norm, changed.seeds) == (Ordered(5, 6), "none", (4,))
    assert (whole.task, whole.model.norm, whole.seeds) == (Ordered(), "layernorm", (0, 1, 2))
    with pytest.raises(TypeError, match="nrm"):
        with_fields(experiment, {"model.nrm": "none"})


def test_every_field_has_a_path_and_a_type(experiment):
    types = field_types(experiment)
    assert types["settings.steps"] is int
    assert types["seeds"] == tuple[int, ...]
    assert {"model.activation", "task.data", "hyperparameters.learning_rate"} < set(types)
    assert not {"model.name", "model.parent", "model.activation.name", "model"} & set(types)


def test_the_baseline_may_be_given_by_its_other_name(experiment):
    swish = replace(experiment, activations=("silu", "gelu"), baseline="swish")
    swish.check()
    assert swish.reference == "silu"
    own = replace(experiment, activations=("gelu", Activation("cube", cube)), baseline="cube")
    own.check()
    assert own.reference == "cube"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"activations": ()}, ("activations", "empty")),
        ({"activations": ("swish", "silu", "gelu")}, ("activations", "silu")),
        ({"activations": ("gelu", "geluu")}, ("activation", "'geluu'", "'gelu'")),
        ({"seeds": ()}, ("seeds", "empty")),
        ({"seeds": (0, 0.5)}, ("seeds", "0", "0.5", "whole number")),
        ({"seeds": (2**32,)}, ("seeds", "4294967296", "0 to 2**32 - 1")),
        ({"learning_rates": (0.1, 0.1)}, ("learning_rates", "0.1")),
        ({"learning_rates": (0.1, float("nan"))}, ("hyperparameters.learning_rate", "nan")),
        ({"baseline": "relu"}, ("baseline", "'relu'", "gelu", "swiglu")),
        ({"split": "valid"}, ("split", "'valid'", "train", "validation", "test")),
        ({"level": 95}, ("level", "95", "0", "1")),
        ({"name": "../up"}, ("name", "'../up'", "folder")),
        ({"axes": (("model.nrm", ("none",)),)}, ("axis", "model.nrm", "'model.norm'")),
        ({"axes": (("model.n_heads", (2, 3)),)}, ("n_heads", "3", "d_model")),
        ({"axes": (("model.norm", ()),)}, ("axis", "model.norm", "empty")),
        ({"axes": (("seeds", (1,)),)}, ("axis", "seeds", "field")),
        ({"axes": (("model.activation", ("relu",)),)}, ("axis", "model.activation", "activations")),
        ({"axes": (("hyperparameters.learning_rate", (1.0,)),)}, ("hyperparameters.learning_rate", "learning_rates")),
        ({"axes": (STATIC[0], STATIC[0])}, ("axes", "model.norm")),
        ({"axes": (STATIC[1], ("model.context", (8, 9)))}, ("axes", "task.context", "model.context")),
        ({"model": Transformer(context=8, vocab_size=255)}, ("model.vocab_size", "255", "256")),
        ({"model": Transformer(context=7)}, ("8", "positions", "7")),
    ],
    ids=str,
)
def test_what_is_not_allowed_is_said_in_one_sentence(experiment, fields, words):
    with refused(*words):
        replace(experiment, **fields).check()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metric": "los"}, ("metric", "'los'", "'loss'")),
        ({"metric": "gradient_norm"}, ("metric", "'gradient_norm'")),
        ({"axes": (("task.context", (8, 10**6)),)}, ("context", "1000000")),
    ],
    ids=str,
)
def test_what_does_not_fit_the_data_is_said_in_one_sentence(experiment, fields, words):
    whole = replace(experiment, model=replace(experiment.model, positions="rotary"), **fields)
    whole.check()
    with refused(*words):
        whole.check(lambda task: task.load())


@pytest.mark.parametrize(("split", "metric"), [("train", "gradient_norm"), ("test", "bits_per_byte")])
def test_what_is_measured_may_be_compared(experiment, split, metric):
    replace(experiment, split=split, metric=metric).check(lambda task: task.load())


@pytest.mark.parametrize("name", catalogue())
def test_every_experiment_here_is_sound(name):
    find(name).check()
