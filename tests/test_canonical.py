"""What is written of a value is enough to make it again; what a file may not name is refused."""

import json

import pytest

from lab.experiment import library
from lab.experiment.experiment import grid
from lab.experiment.serialization import canonical, restored
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
        ({"type": "Settings", "stepz": 7}, "no field 'stepz'; did you mean 'steps'"),
        (canonical(Transformer(activation=Activation("mine", lambda x: x))), "'mine' is one of your own"),
    ],
)
def test_what_a_file_may_not_name_is_refused(form, message):
    with pytest.raises(ValueError, match=message):
        restored(form)
