"""Commands that answer from files alone import no library that computes: they answer at once."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from ablations import main
code = main(sys.argv[2:])
found = sorted(set(sys.argv[1].split(",")) & set(sys.modules))
print("imported:", *found, file=sys.stderr)
sys.exit(code)
"""
HEAVY = ("jax", "flax", "matplotlib", "scipy", "pandas", "numpy")


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["list"], HEAVY),
        (["--help"], HEAVY),
        (["compare", "--help"], HEAVY),
        (["run", "--help"], HEAVY),
        (["data", "list"], ("jax", "flax", "matplotlib", "scipy")),
        (["compare", str(ROOT / "tests" / "results_0_1_0")], ("jax", "flax", "matplotlib")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_imports_only_what_it_needs(words, heavy, tmp_path):
    words = [str(path_copy(word, tmp_path)) if Path(word).is_dir() else word for word in words]
    arguments = [sys.executable, "-c", PROGRAM, ",".join(heavy), *words]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr.splitlines()[-1] == "imported:"


def path_copy(folder, tmp_path):
    """A folder of results of one's own: to compare it is written down in it."""
    import shutil

    return shutil.copytree(folder, tmp_path / "results")
