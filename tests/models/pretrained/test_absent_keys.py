"""Where a key of a config is absent, what transformers takes in its place is meant: key by key, of all model types."""

import json

import pytest
from make_absent import ROPE, cases, function_of, without

from models.pretrained.registry import FORMATS

CASES = {path.name: json.loads((path / "config.json").read_text()) for path in cases()}
ABSENT = json.loads((cases()[0].parents[1] / "absent.json").read_text())


def test_the_table_has_every_key_of_a_folder_of_every_model_type():
    assert {values["model_type"] for values in CASES.values()} == FORMATS.keys()
    assert ABSENT.keys() == CASES.keys()
    for name, values in CASES.items():
        assert ABSENT[name].keys() == without(values).keys()
        assert sum(bool(found) for found in ABSENT[name].values()) > 3


@pytest.mark.parametrize("case", CASES)
def test_what_transformers_takes_for_an_absent_key_is_taken(case):
    for key, rest in without(CASES[case]).items():
        taken = ABSENT[case][key]
        if taken is None:
            # Refused there; a number of heads that does not divide the width is read here, where heads have their own.
            assert function_of(rest) is None or key == "num_attention_heads", key
            continue
        beside = ROPE if "rope_parameters" in taken else ()
        said = {name: value for name, value in rest.items() if name not in beside} | taken
        assert function_of(rest) == function_of(said), key
