"""A script of one's own works beside folders that are called as folders here, or ends in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from ablations import Activation, Experiment, Transformer, CausalLanguage, Settings, Hyperparameters, run, load, compare
experiment = Experiment(
    name="beside", question="?", task=CausalLanguage(data="stdlib", context=8), model=Transformer(context=8),
    activations=("gelu", Activation("cube", lambda x: x**3)), settings=Settings(steps=1),
    hyperparameters=Hyperparameters(),
)
experiment.check(lambda task: task.load())
print("sound")
"""


def ran(folder: Path, script: str = SCRIPT) -> subprocess.CompletedProcess:
    (folder / "script.py").write_text(script)
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)


def foreign(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("OWN = 1\n")


def test_other_folders_do_not_matter(tmp_path):
    for name in ("tasks", "training", "analysis", "records", "runner", "probes", "choices"):
        foreign(tmp_path, name)
    (tmp_path / "models").mkdir()  # without __init__.py it is no package, and ours is found behind it
    (tmp_path / "models" / "weights.txt").touch()
    found = ran(tmp_path, f"import tasks\nassert tasks.OWN\n{SCRIPT}")
    assert found.stdout == "sound\n", found.stderr


@pytest.mark.parametrize("name", ["models", "lab", "experiments"])
@pytest.mark.parametrize("imported", [False, True])
def test_a_folder_that_hides_ours_is_named(tmp_path, name, imported):
    foreign(tmp_path, name)
    found = ran(tmp_path, f"import {name}\n{SCRIPT}" if imported else SCRIPT)
    assert found.returncode != 0
    assert found.stdout == ""
    assert str(tmp_path / name) in found.stderr
    assert f"'{name}'" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_file_that_hides_ours_is_named(tmp_path):
    (tmp_path / "models.py").touch()
    found = ran(tmp_path)
    assert found.returncode != 0
    assert str(tmp_path / "models.py") in found.stderr
    assert found.stderr.count("\n") == 1


def test_the_import_is_lazy():
    code = (
        "import sys, ablations; assert not {'jax', 'numpy', 'pandas', 'flax'} & set(sys.modules); ablations.Activation"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_that_is_promised_is_there():
    import ablations

    for name in ablations.__all__:
        assert name == "ACTIVATIONS" or getattr(ablations, name).__name__ == name
    with pytest.raises(AttributeError, match="Actvation"):
        _ = ablations.Actvation
