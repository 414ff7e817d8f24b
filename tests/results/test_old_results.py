"""A results folder of version 0.1.0 is read, compared, reported and found complete."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import ablations
from experiments.quickstart import experiment
from lab.experiment.experiment import grid
from lab.report import report
from lab.results import results
from lab.runner import plan

OLD = Path(__file__).parents[1] / "results_0_1_0"
DIFFERENCES = {"swiglu": -0.0231, "silu": 0.0209}  # as that version's table had them


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(OLD, tmp_path / "old")


def test_it_compares_as_it_did(folder):
    arms = {arm.activation: arm for arm in ablations.compare(folder).arms}
    assert {name: round(arm.difference, 4) for name, arm in arms.items()} == DIFFERENCES
    assert {arm.n for arm in arms.values()} == {8}


def test_a_report_is_written(folder):
    assert report.write(results.read(folder)).exists()


def as_then():
    """What was asked, which had one evaluation for the curve and the last step."""
    settings = replace(experiment.settings, final_evaluation=0.0)
    return replace(experiment, activations=("gelu", "silu", "swiglu"), settings=settings)


def test_the_cells_of_then_are_those_of_the_folder(folder):
    assert {cell.name for cell in grid(as_then())} == {path.name for path in (folder / "cells").iterdir()}


def test_what_is_asked_of_it_is_to_be_evaluated_as_it_was(folder):
    plan.prepare(as_then(), folder, "again")
    with pytest.raises(ValueError, match=r"settings\.final_evaluation .* not 0\.15"):
        plan.prepare(replace(as_then(), settings=experiment.settings), folder, "again")
