"""Results folders that are damaged, or come from elsewhere: the file is named, and nothing outside is read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab.comparison.comparison import compare
from lab.files.atomic import write_json
from lab.report import page
from lab.results import results
from lab.results.shape import CELL, RECORD, difference
from lab.runner import plan

FILES = (
    "experiment.json",
    "cells/gelu-*/cell.json",
    "cells/gelu-*/runs-*/runs.json",
    "cells/gelu-*/*/environment.json",
)
DEEP = "[" * 200_000


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(Path(__file__).parents[1] / "results_0_1_0", tmp_path / "results")


def first(folder, pattern):
    return sorted(folder.glob(pattern))[0]


@pytest.mark.parametrize("text", ["null", "[3]", '"text"', "{", "", DEEP, '{"name": 3}', "[null]"], ids=lambda t: t[:9])
@pytest.mark.parametrize("pattern", FILES)
def test_json_of_another_shape_is_refused_by_the_name_of_its_file(folder, pattern, text):
    path = first(folder, pattern)
    path.write_text(text)
    with pytest.raises(ValueError, match="damaged") as error:
        results.read(folder)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("field", ["seed", "learning_rate", "step", "split", "metric", "value"])
@pytest.mark.parametrize("change", ["missing", "text", "numbers", "truth", "lists"])
def test_a_table_of_other_columns_is_refused_by_the_name_of_its_file(folder, field, change):
    path = first(folder, "cells/gelu-*/*/metrics.parquet")
    table = pd.read_parquet(path)
    values = {"text": "abc", "numbers": 2.5, "truth": True, "lists": [[1]] * len(table)}
    changed = table.drop(columns=field) if change == "missing" else table.assign(**{field: values[change]})
    changed.to_parquet(path)
    if (change, field) in {("text", "split"), ("text", "metric")} or (
        change == "numbers" and field not in ("split", "metric")
    ):
        return  # of the right kind
    with pytest.raises(ValueError, match="damaged") as error:
        results.read(folder)
    assert str(path) in str(error.value)
    assert field in str(error.value)


def test_every_field_that_is_read_has_a_shape(folder):
    record = json.loads((folder / "experiment.json").read_text())
    for name in RECORD:
        plain = name.removesuffix("?")
        if plain in record and RECORD[name] is not object:
            assert plain in difference({**record, plain: {1, 2}}, RECORD)
    assert "cost.flops_per_token" in difference(
        {**json.loads(first(folder, FILES[1]).read_text()), "cost": {"flops_per_token": "many"}}, CELL
    )


@pytest.mark.parametrize("name", ["cells/gelu-014c911e", "cells", "cells/gelu-014c911e/cell.json", "experiment.json"])
def test_a_link_that_leads_out_is_not_followed(folder, tmp_path, name):
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    for read in (results.read, plan.check_folder):
        with pytest.raises(ValueError, match="symbolic link") as error:
            read(folder)
        assert str(folder / name) in str(error.value)


def test_links_within_and_a_linked_folder_are_followed(folder, tmp_path):
    (folder / "cells" / "gelu-014c911e").rename(folder / "moved")
    (folder / "cells" / "gelu-014c911e").symlink_to(folder / "moved")
    (tmp_path / "linked").symlink_to(folder)
    assert compare(results.read(tmp_path / "linked")).baseline == "gelu"


def test_a_table_for_spreadsheets_has_no_formula(tmp_path):
    values = pd.DataFrame({"arm": ["=1+1", "+x", "-x", "@x", "gelu", "\tx"], "=head": [-1.5, 2, np.nan, 0, 1, -3]})
    page.write(tmp_path / "page.html", "one", "", [page.Table("one", values, page.columns(values))])
    lines = (tmp_path / "one.csv").read_text().splitlines()
    assert lines[0] == "arm,'=head"
    assert [line[0] for line in lines[1:]] == ["'", "'", "'", "'", "g", "'"]
    assert lines[1].endswith(",-1.5")  # a number stays one


def test_other_precision_is_refused_with_its_cause(folder, experiment):
    path = first(folder, FILES[3])
    write_json(path, [{**one, "x64": True} for one in json.loads(path.read_text())])
    with pytest.raises(ValueError, match="JAX_ENABLE_X64") as error:
        plan.check_x64([], folder, False, False)
    assert str(path.parents[1]) in str(error.value)
    path.unlink()
    plan.check_x64([], folder, False, False)  # older folders say nothing: they were made without
    with pytest.raises(ValueError, match="JAX_ENABLE_X64"):
        plan.check_x64([], folder, True, False)
