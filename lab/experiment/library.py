"""Finding experiments and studies: built-in ones by name, a user's own by path."""

from __future__ import annotations

import ast
import importlib
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.files.choices import check_choice, nearest

if TYPE_CHECKING:
    from lab.experiment.experiment import Experiment

FOLDER = Path(__file__).parents[2] / "experiments"


def catalogue() -> dict[str, str]:
    """Name -> first line of the docstring of every experiment here, read without importing it."""
    return _defining("experiment", FOLDER)


def studies() -> dict[str, str]:
    """Name -> first line of the docstring of every study: modules of experiments/studies, and papers, which are
    packages of experiments."""
    packages = {path.parent.name: path for path in sorted(FOLDER.glob("*/__init__.py"))}
    papers = {name: tree for name, tree in _parsed(packages).items() if "study" in _assigned(tree)}
    return {**_defining("study", FOLDER / "studies"), **{name: _first_line(tree) for name, tree in papers.items()}}


def study(name: str) -> Any:
    """The value `study` of a module of experiments/studies or of a package of experiments.

    Raises ValueError, naming the nearest, if there is no such study.
    """
    check_choice("the study", name, studies())
    module = f"experiments.{name}" if (FOLDER / name).is_dir() else f"experiments.studies.{name}"
    return importlib.import_module(module).study


def find(name: str) -> Experiment:
    """The value `experiment` of the module experiments/NAME.py, or of the file NAME if it ends in .py.

    Raises ValueError if there is no such experiment (naming the nearest) or the file is no Python, FileNotFoundError if
    it is missing. What a file itself raises passes through.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    known = catalogue()
    if name not in known:
        hint = nearest(name, known) or f": there are {', '.join(known)}"
        raise ValueError(f"no experiment is called '{name}'{hint}")
    return importlib.import_module(f"experiments.{name}").experiment


def _from_file(path: Path) -> Experiment:
    from lab.experiment.experiment import Experiment

    if not path.is_file():
        raise FileNotFoundError(f"there is no experiment file {path}")
    try:
        found = runpy.run_path(str(path)).get("experiment")
    except SyntaxError as error:
        raise ValueError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    if not isinstance(found, Experiment):
        raise ValueError(f"{path} defines no `experiment = Experiment(...)`")
    return found


def _defining(value: str, folder: Path) -> dict[str, str]:
    """Name -> first line of the docstring of every module in the folder that assigns a value of this name."""
    trees = _parsed({path.stem: path for path in sorted(folder.glob("*.py"))})
    return {name: _first_line(tree) for name, tree in trees.items() if value in _assigned(tree)}


def _parsed(paths: dict[str, Path]) -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in paths.items()}


def _first_line(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _assigned(tree: ast.Module) -> list[str]:
    """Names that a module assigns at its top."""
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]
