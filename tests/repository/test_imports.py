"""Folders import each other only along the allowed arrows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "lab.files": set(),
    "models": {"lab.files"},
    "lab.statistics": {"lab.files"},
    "lab.results": {"lab.files"},
    "lab.data": {"lab.files"},
    "lab.tasks": {"lab.files", "lab.data"},
    "lab.probes": {"lab.files", "models"},
    "lab.surgery": {"lab.files", "models", "lab.probes"},
    "lab.training": {"lab.files", "models.model", "lab.data.dataset", "lab.tasks.task", "lab.results"},
    "lab.comparison": {"lab.files", "lab.statistics", "lab.results"},
    "lab.report": {"lab.files", "lab.statistics", "lab.results", "lab.comparison"},
}
"""The ground floor first. Training sees a model and a task only as arguments."""
for package in ("lab.experiment", "lab.runner", "lab.cli"):
    ALLOWED[package] = set(ALLOWED)
ALLOWED["experiments"] = {"models", "lab"}
WITHOUT_JAX = ("lab.files", "lab.statistics", "lab.results", "lab.comparison", "lab.report", "lab.cli")
FILES = [path for package in ALLOWED for path in sorted((ROOT / package.replace(".", "/")).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def package_of(path: Path) -> str:
    first, second, *_ = (*path.relative_to(ROOT).with_suffix("").parts, "")
    return f"{first}.{second}" if first == "lab" else first


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    package = package_of(path)
    ours = {name for name in imported(path) if name.split(".")[0] in ("ablations", "experiments", "lab", "models")}
    wrong = {name for name in ours if not any(within(name, other) for other in {package, *ALLOWED[package]})}
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_folders(path):
    package = package_of(path)
    names = imported(path)
    if package in WITHOUT_JAX:
        assert not any(within(name, "jax") or within(name, "flax") for name in names)
    if package != "models":
        assert not any(within(name, "flax.linen") for name in names)


def test_transformations_live_in_one_file_of_training():
    for path in (ROOT / "lab" / "training").rglob("*.py"):
        called = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        if path.name != "runs.py":
            assert not called & {"jit", "vmap", "pmap", "shard_map", "make_mesh"}, path.name
