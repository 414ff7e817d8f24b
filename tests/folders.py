"""Small Hugging Face folders for tests: copies of the parity fixtures with another config or other tensors."""

import json
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

PARITY = Path(__file__).parent / "parity"


def copied(case, target, **values):
    """A copy of a fixture, with these keys of the config; those given as ... are left out."""
    shutil.copytree(PARITY / case, target)
    set_config(target, **values)
    return target


def config(folder):
    return json.loads((folder / "config.json").read_text())


def set_config(folder, **values):
    changed = {name: value for name, value in {**config(folder), **values}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(changed))


def change(folder, edit):
    """Edits the tensors, name -> array, in place; the folder then has one file of them."""
    files = sorted(folder.glob("model*.safetensors"))
    tensors = {name: array for file in files for name, array in load_file(file).items()}
    edit(tensors)
    for file in (*files, folder / "model.safetensors.index.json"):
        file.unlink(missing_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return tensors
