"""What is written of a value is enough to make it again; what a file may not name is refused."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from lab.experiment import library
from lab.experiment.experiment import grid
from lab.experiment.init_from import InitFrom
from lab.experiment.serialization import BUILT_IN, canonical, restored, type_name
from lab.tasks.language import CausalLanguage
from lab.training.settings import Settings
from models.activations import Activation
from models.transformer import Transformer

EXPERIMENTS = [library.find(name) for name in library.catalogue()]
STUDIED = [one for name in library.studies() for one in library.study(name).experiments("smoke")]
CELLS = [cell for one in EXPERIMENTS + STUDIED for cell in grid(one)[:1] if cell.activation.built_in]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_cell_is_made_again_from_its_file(cell):
    for part in (cell.task, cell.model, cell.settings):
        form = json.loads(json.dumps(canonical(part)))
        assert canonical(restored(form)) == form
        assert type(restored(form)) is type(part)


def test_what_is_newer_than_the_file_is_as_before_it():
    assert restored({"type": "Settings", "steps": 7}) == Settings(steps=7, final_evaluation=0.0)
    assert restored({"type": "CausalLanguage", "context": 7}) == CausalLanguage(context=7)


def test_a_newer_field_that_is_as_before_leaves_the_form_of_old_results():
    assert "final_evaluation" not in canonical(Settings(final_evaluation=0.0))
    assert canonical(Settings())["final_evaluation"] > 0


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"type": "system"}, "type 'system' is not known"),
        ({"type": "os:system"}, "type 'os:system' is one of your own"),
        ({"type": "Settings", "stepz": 7}, "no field 'stepz'; did you mean 'steps'"),
        (canonical(Transformer(activation=Activation("mine", lambda x: x))), "'mine' is one of your own"),
    ],
)
def test_what_a_file_may_not_name_is_refused(form, message):
    with pytest.raises(ValueError, match=message):
        restored(form)


# Of version 0.1.0: results are found by these names.
NAMES = {
    "quickstart": {
        *("relu-9ddb921f", "gelu-014c911e", "silu-3e6d70bf", "relu2-d9003287", "geglu-b3c5a798", "swiglu-ea49eda3"),
    },
    "bert_masked": {"relu-b52a9216"},
    "bert_modules": {"relu-4878b02f"},
    "char_shakespeare": {"gelu-199a504e"},
    "eltec": {"gelu-0c1e25d3"},
    "fashion_vit": {"gelu-639489c8"},
    "spoken_digits": {"gelu-b5600124"},
    "t5_spans": {"relu-ca721774"},
    "tweets": {"gelu-438470d0"},
    "wikitext2_bpe": {"gelu-26c125b9"},
}


def as_then(experiment):
    """As that version asked: with one evaluation for the curve and the last step."""
    return replace(experiment, settings=replace(experiment.settings, final_evaluation=0.0))


@pytest.mark.parametrize("name", NAMES)
def test_the_cells_of_an_experiment_keep_their_names(name):
    assert {cell.name for cell in grid(as_then(library.find(name)))} >= NAMES[name]


@pytest.mark.parametrize(("fold", "name"), [(False, "relu-1905dbc4"), (True, "relu-441fc1eb")])
def test_a_cell_that_starts_from_a_network_keeps_its_name(fold, name):
    start = InitFrom("w", "anywhere", fold)
    assert grid(as_then(replace(library.find("quickstart"), init_from=start)))[0].name == name


def test_built_in_types_are_where_their_names_say_and_only_they_are_built_in():
    for name in BUILT_IN:
        with pytest.raises((ValueError, TypeError)) as refused:
            restored({"type": name, "no_field": 1})
        assert "no_field" in str(refused.value)
    assert type_name(type("Settings", (), {})) != "Settings"


def test_nothing_is_imported_before_a_file_names_it():
    lazy = ("models.transformer", "models.convnet", "lab.tasks.images", "lab.tasks.language")
    code = f"import sys, lab.experiment.serialization; print([one for one in {lazy} if one in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
