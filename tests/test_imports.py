"""Folders import each other only along the allowed arrows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("models", "tasks", "training", "probes", "records", "analysis", "experiments", "runner", "ablations", "choices")
EVERYWHERE = {"choices"}
ALLOWED = {
    "models": set(),
    "tasks": set(),
    "records": set(),
    "training": {"tasks.task", "records"},
    "probes": {"models"},
    "analysis": {"records"},
    "experiments": {"models", "tasks", "training.settings", "training.optimizers", "probes", "analysis", "records"},
    "runner": {
        *("experiments.canonical", "experiments.experiment", "experiments.start", "experiments.study"),
        *(
            "experiments.fine_tuning",
            "experiments.swapping",
            "models.pretrained",
            "probes",
            "training",
            "records",
            "analysis",
        ),
    },
}
WITHOUT_JAX = ("analysis", "records")


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


FILES = [path for folder in ALLOWED for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    folder = path.relative_to(ROOT).parts[0]
    ours = {name for name in imported(path) if name.split(".")[0] in OURS}
    allowed = ALLOWED[folder] | {folder} | EVERYWHERE
    wrong = {name for name in ours if not any(within(name, package) for package in allowed)}
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_folders(path):
    folder = path.relative_to(ROOT).parts[0]
    names = imported(path)
    if folder in WITHOUT_JAX:
        assert not any(within(name, "jax") or within(name, "flax") for name in names)
    if folder != "models":
        assert not any(within(name, "flax.linen") for name in names)


def test_transformations_live_in_one_file_of_training():
    for path in (ROOT / "training").glob("*.py"):
        called = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        if path.name != "runs.py":
            assert not called & {"jit", "vmap", "pmap", "shard_map", "make_mesh"}, path.name
