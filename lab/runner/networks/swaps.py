"""A trained network with another norm or activation: how far it drifts, which change did it, what mends it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab.experiment import swapping
from lab.experiment.experiment import Cell, Experiment, Named
from lab.experiment.init_from import InitFrom, locate
from lab.files.atomic import write_json
from lab.report import report
from lab.report.networks import drift, recovery
from lab.report.studies import study_page
from lab.results.environment import environment
from lab.results.excerpts import Excerpt, json_rows, of_results
from lab.results.results import Results
from lab.runner import plan
from lab.runner.networks import texts
from lab.runner.networks.sources import Load, Source, opened, sound, users_code
from lab.surgery.attribution import FOLDED, attribution, changes
from lab.surgery.swap import norm_of, swapped_model
from lab.training.settings import Hyperparameters, Settings
from lab.training.train import Dataset

Train = Callable[[Experiment, Path], Results]  # trains what is missing of an experiment in a directory
SWAP_FILES = ("drift.json", "recovery", "folded")  # any of them tells a folder of a swap
RATE = 2e-5
"""Peak learning rate for further training of Hugging Face networks: the smallest of Devlin et al. 2018."""


@dataclass(frozen=True)
class Swap:
    """What is asked of a trained network."""

    directory: Path
    """A cell of ours, or a Hugging Face folder."""
    activation: Named | None = None
    """The activation that it is to have; its own unless given."""
    norm: str | None = None
    """The norm that it is to have; its own unless given."""
    text: str | None = None
    """The file of a text to measure on; unless given what the network's own task tests on, and for a Hugging Face
    folder the test text of the corpus `stdlib`."""
    steps: int = 0
    """Steps of training on."""
    seeds: tuple[int, ...] = ()
    """Seeds of training on; all that a cell has, of a Hugging Face folder 0, 1 and 2, unless given."""
    learning_rate: float | None = None
    """Peak of training on; unless given a tenth of the cell's own, and for a Hugging Face folder `RATE`."""
    ignore: tuple[str, ...] = ()
    """Keys of a Hugging Face config that count as absent."""
    experiment: Experiment | None = None
    """The experiment of the cell; needed where its model, task or activation is the user's own."""


def swap(asked: Swap, out: Path, load: Load, train: Train, command: str) -> pd.DataFrame:
    """Measures a swap and writes OUT/index.html, OUT/drift.json and, below OUT, what training on leaves; gives the rows
    of `lab.surgery.attribution.attribution` with the `seed` of each network, -1 for a Hugging Face one.

    Raises ValueError, before anything is computed, for a swap that is not defined for this network or changes nothing,
    for networks that all diverged, and what `lab.runner.networks.sources.opened` and training raise. Networks that
    diverged are left out, as is a fold that would not be exact, and the page says why.
    """
    if asked.activation is None and asked.norm is None:
        raise ValueError("neither --activation nor --norm is given: say what the network is to have")
    plan.check_folder(out, SWAP_FILES)
    start = locate(asked.directory, ignore=asked.ignore)
    networks = opened(asked.directory.resolve(), load, asked.ignore, users_code(asked.experiment))
    if networks.collections:
        raise ValueError(f"{asked.directory} has {', '.join(networks.collections)}: such networks cannot be swapped")
    source, diverged = sound(networks, asked.directory)
    task = texts.task_of(source, asked.directory, asked.text)
    todo, inexact = _defined(source.model, changes(source.model, asked.activation, asked.norm))
    experiments = _recoveries(asked, source, task, start, todo)
    Cell(task, source.model, Settings(), (), ()).check()  # the task's tokens are the model's
    batches = task.evaluation_batches(_measured_on(asked, task, load(task)), swapping.BATCH)
    begin = time.perf_counter()
    rows = pd.concat([_rows(task, source.model, *network, todo, batches) for network in source.parameters.items()])
    made = {"command": command, "seconds": round(time.perf_counter() - begin), "environments": [environment({}, {})]}
    results = {suffix: train(one, out / one.name) for suffix, one in experiments.items()}
    _write(asked, start, source.model, Excerpt(rows, made), results, diverged | inexact, out)
    return rows


def _measured_on(asked: Swap, task: Any, dataset: Dataset) -> Mapping[str, np.ndarray]:
    """The test split; of a text that is given all of it, since none of it was trained on yet. Raises ValueError for a
    text too short for a window."""
    if asked.text is None:
        return dataset.arrays["test"]
    return texts.joined(task, [dataset], texts.SPLITS, asked.text)


def _defined(model: Any, todo: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The changes that are defined for this model, and of the folds that are not why. Raises ValueError for any other
    change that is not, and for one to what the model has."""
    own, found, left_out = _own(model), {}, {}
    for name, one in todo.items():
        try:
            changed = swapped_model(model, **one)
        except ValueError as error:
            if not name.endswith(FOLDED):
                raise
            left_out[name] = str(error)
            continue
        if name in own and _own(changed)[name] == own[name]:
            raise ValueError(f"--{name} is '{own[name]}', as the network's is already: give another")
        found[name] = one
    return found, left_out


def _own(model: Any) -> dict[str, Any]:
    """The names of the fields that a swap may change."""
    return {"activation": model.activation.name, "norm": norm_of(model)}


def _rows(
    task: Any, model: Any, seed: int | None, params: dict[str, Any], todo: Mapping[str, Any], batches: Mapping[str, Any]
) -> pd.DataFrame:
    rows = pd.DataFrame(attribution(task, model, params, todo, batches))
    return rows.assign(seed=-1 if seed is None else seed)


def _recoveries(
    asked: Swap, source: Source, task: Any, start: InitFrom, todo: Mapping[str, Any]
) -> dict[str, Experiment]:
    """The experiments that train on, by what is added to the names of their changes."""
    if not asked.steps:
        return {}
    own = source.settings or Settings(batch_size=swapping.BATCH)
    hyperparameters = source.hyperparameters or Hyperparameters()
    peak = swapping.RATE_FRACTION * float(hyperparameters.learning_rate) if source.hyperparameters else RATE
    settings = replace(own, steps=asked.steps, evaluate_every=None, warmup_steps=None, decay_steps=None)
    seeds = asked.seeds or tuple(seed for seed in source.parameters if seed is not None) or (0, 1, 2)
    folds = [False, True] if any(name.endswith(FOLDED) for name in todo) else [False]
    made = {
        FOLDED if fold else "": swapping.recovery(
            "folded" if fold else "recovery",
            task,
            source.model,
            replace(start, fold=fold),
            () if asked.activation is None else (asked.activation,),
            asked.norm,
            seeds,
            settings,
            replace(hyperparameters, learning_rate=peak if asked.learning_rate is None else asked.learning_rate),
        )
        for fold in folds
    }
    for one in made.values():
        one.check()
    return made


def _write(
    asked: Swap,
    start: InitFrom,
    model: Any,
    measured: Excerpt,
    results: Mapping[str, Results],
    left_out: Mapping[str, str],
    out: Path,
) -> None:
    """The page, and drift.json."""
    was, rows = _own(model), measured.rows
    sections = drift.sections(rows)
    record: dict[str, Any] = {
        "attribution": json_rows(drift.attributed(rows)),
        "layers": json_rows(drift.by_layer(rows)),
    }
    if results:
        apart = pd.concat(
            [recovery.differences(found, was["activation"], was["norm"], suffix) for suffix, found in results.items()]
        )
        sections["recovery"] = recovery.section(apart)
        record["recovery"] = json_rows(recovery.table(apart))
    excerpts = {"drift": measured, **{one.experiment["name"]: of_results(one) for one in results.values()}}
    reports = {one.experiment["name"]: report.parts(one) for one in results.values()}
    to = {"activation": asked.activation and swapped_model(model, asked.activation).activation.name, "norm": asked.norm}
    words = ", ".join(f"{field} {was[field]} to {value}" for field, value in to.items() if value)
    question = f"What changes when the {words}, and where?"
    study_page.write(out, f"Swap: {words}", sections, excerpts, left_out, question, (), reports)
    about = {"weights": start.weights, "directory": start.directory, "text": asked.text, "from": was, "to": to}
    write_json(out / "drift.json", {**about, **record, "made": measured.made})
