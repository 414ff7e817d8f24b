"""Experiments that begin with trained networks: every arm with its own, or all with one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.experiment.experiment import ArmOverride, Experiment, grid
from lab.experiment.init_from import locate
from lab.files.atomic import read_json
from models import pretrained
from models.classifier import Classifier, classifier


def initialized_from(experiment: Experiment, folder: str | Path, ignore: tuple[str, ...] = ()) -> Experiment:
    """The experiment whose runs begin with the trained networks of a folder.

    - A folder of results: every arm begins with the networks that were trained with its activation, run by run those of
      its seed.
    - A cell of results: all arms begin with its networks, swapped to their activation and norm.
    - A Hugging Face folder: likewise with its one network, whose sizes the model takes over; a task of text then reads
      by its tokenizer.json, if there is one. Keys of its config that are in `ignore` count as absent.

    Raises FileNotFoundError for a folder that is none of them, and ValueError, naming it, for an arm without networks.
    """
    folder = Path(folder)
    if (folder / "experiment.json").exists():
        return replace(experiment, overrides=(*experiment.overrides, *_own_starts(experiment, folder)))
    start = locate(folder, ignore=ignore)
    if (folder / "cell.json").exists():
        return replace(experiment, init_from=start)
    return replace(_as_in(experiment, folder, ignore), init_from=start)


def _own_starts(experiment: Experiment, folder: Path) -> list[ArmOverride]:
    """What every activation begins with."""
    cells = {path.parent: read_json(path) for path in sorted(folder.glob("cells/*/cell.json"))}
    found = []
    for name in dict.fromkeys(cell.activation.name for cell in grid(experiment)):
        own = [path for path, cell in cells.items() if cell["activation"] == name]
        if len(own) != 1:
            count = "no cell" if not own else f"{len(own)} cells"
            known = ", ".join(sorted({cell["activation"] for cell in cells.values()}))
            raise ValueError(f"{folder} has {count} of activation '{name}', one is needed; it has {known}")
        found.append(ArmOverride((("activation", name),), (("init_from", locate(own[0])),)))
    return found


def _as_in(experiment: Experiment, folder: Path, ignore: tuple[str, ...]) -> Experiment:
    """The experiment with the model of a Hugging Face folder, and its tokenizer."""
    model: Any = pretrained.load(folder, ignore=ignore)[0]
    if isinstance(experiment.model, Classifier):
        model = classifier(model, experiment.model.classes, experiment.model.pooling)
    task = experiment.task
    if (folder / "tokenizer.json").exists() and hasattr(task, "tokenizer"):
        task = replace(task, tokenizer=str(folder / "tokenizer.json"), vocabulary=0)
    return replace(experiment, model=model, task=task)
