"""Every example is short, readable, and ends in a comparison."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.experiment.experiment import Experiment, grid
from lab.experiment.library import find

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def test_they_are_all_there():
    assert {path.stem for path in EXAMPLES} == {
        *("own_activation", "own_model", "own_task", "own_text", "own_study"),
    }


@every_example
def test_it_imports_only_ablations_of_this_project_and_says_how_to_run_it(path):
    tree = ast.parse(path.read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {module.split(".")[0] for module in modules} & {"lab", "models", "experiments"}
    assert f"python examples/{path.name}" in ast.get_docstring(tree)
    assert len(path.read_text().splitlines()) <= 70


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem != "own_study"], ids=lambda path: path.stem)
def test_its_experiment_is_sound(path):
    experiment = find(str(path))
    assert isinstance(experiment, Experiment)
    assert experiment.name == path.stem
    experiment.check(lambda task: task.load())
    assert len(grid(experiment)) > 1


@every_example
@pytest.mark.slow
def test_it_runs(path, tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "baseline, n = 5" in ran.stdout
    written = [
        Path(line.partition(": ")[2]) for line in ran.stdout.splitlines() if line.startswith(("report: ", "page: "))
    ]
    assert [(tmp_path / page).exists() for page in written] == [True]
    assert written[0].parts[:2] == ("results", path.stem)
