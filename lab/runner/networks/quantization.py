"""Trained networks quantized after training: what every recipe costs them, and which site is to blame."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from lab.comparison.networks import quantization as costs
from lab.experiment.experiment import Cell, Experiment
from lab.files.atomic import write_json
from lab.files.choices import check_choice
from lab.probes import dense_inputs
from lab.report.networks import quantization as report
from lab.report.studies import study_page
from lab.results.environment import environment
from lab.results.examples import Measured
from lab.results.excerpts import Excerpt, json_rows
from lab.runner import plan
from lab.runner.networks import texts
from lab.runner.networks.sources import Load, Source, opened_cells, sound, users_code
from lab.surgery.quantization import RECIPES, SITES, check_quantizable, quantized, site_of
from lab.tasks.task import final_batches
from lab.training import step
from lab.training.evaluation import Batches, by_example
from lab.training.settings import Settings
from models.layers.scanned import unstacked

FILE, LEVEL = "quantization.json", 0.95
BATCH, PORTION = 16, 8
"""Windows that are evaluated at once, and batches that are on the device."""
CALIBRATION = 64
"""Training examples, those of step 0 with seed 0, on which the largest inputs are found."""
AT_ONCE = 8
"""Of these, how many at once, since the inputs of all layers are in memory."""


@dataclass(frozen=True)
class Quantize:
    """What is asked of trained networks."""

    directory: Path
    """Results, one cell of results, or a Hugging Face folder."""
    recipes: tuple[str, ...] = ()
    """Names of `lab.surgery.quantization.RECIPES`; all unless given."""
    texts: tuple[str, ...] = ()
    """Text files to measure on; unless given what the networks' own task tests on, and for a Hugging Face folder the
    test text of the corpus `stdlib`."""
    margin: float = costs.MARGIN
    """Nats within which a quantized network counts as equivalent."""
    ignore: tuple[str, ...] = ()
    """Keys of a Hugging Face config that count as absent."""
    experiment: Experiment | None = None
    """The experiment of the results; needed where its model, task or activation is the user's own."""


class Text(NamedTuple):
    """What networks are calibrated and measured on: a task, its training arrays, and the batches of measurement."""

    task: Any
    train: Mapping[str, np.ndarray]
    batches: Batches


class Quantization(NamedTuple):
    """`rows` as `lab.comparison.networks.quantization.differences` has them, with `recipe` and `kept`; and `inputs`:
    the `kurtosis` and `max_over_median` of what each layer reads, by `seed`, `site` and `layer`, in float."""

    rows: pd.DataFrame
    inputs: pd.DataFrame


def quantize(asked: Quantize, out: Path | None, load: Load, command: str) -> dict[str, Any]:
    """Quantizes all networks of a folder, and writes OUT/index.html and OUT/quantization.json, whose value it gives.

    Raises ValueError, before anything is computed, for unknown recipes and networks that cannot be quantized, and what
    `lab.runner.networks.sources.opened` raises. Networks that diverged are left out, and the page says so.
    """
    _check(asked)
    sources = _sources(asked, load)
    ours = any(source.task is not None for _, _, source in sources)
    folder = out or (asked.directory / "quantization" if ours else Path("results") / "quantize")
    plan.check_folder(folder, (FILE,))
    begin, parts = time.perf_counter(), []
    left_out: dict[str, str] = {}
    for arm, place, source in sources:
        label = ", ".join(map(str, arm.values())) or place.name
        try:
            networks, diverged = sound(source, place)
        except ValueError as error:
            left_out[label] = str(error)
            continue
        found = measured(networks.model, networks.parameters, _text(asked, networks, load), asked.recipes)
        parts.append([table.assign(**arm) for table in found])
        left_out |= {f"{label}, {name}": why for name, why in (diverged | _burst(found.rows)).items()}
    if not parts:
        raise ValueError(next(iter(left_out.values())))
    rows, inputs = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    made = {"command": command, "seconds": round(time.perf_counter() - begin), "environments": [environment({}, {})]}
    return _write(asked, folder, Excerpt(rows, made), inputs, left_out)


def _burst(rows: pd.DataFrame) -> dict[str, str]:
    """By recipe, how many networks have a loss that is not finite; their differences are missing in the tables."""
    lost = rows[(rows["kept"] == "") & rows["difference"].isna()].groupby("recipe", sort=False)
    one = (rows["over"] == costs.OVER_TEXT).all()
    return {
        str(recipe): "a loss is not finite" if one else f"a loss is not finite for seeds {' '.join(map(str, some))}"
        for recipe, some in lost["seed"]
    }


def _write(
    asked: Quantize, folder: Path, measured: Excerpt, inputs: pd.DataFrame, left_out: Mapping[str, str]
) -> dict[str, Any]:
    """The page and the JSON file."""
    rows = measured.rows
    sections = report.sections(rows, inputs, asked.margin)
    question = "What does quantization after training cost these networks, and where?"
    page = study_page.write(folder, "Quantization", sections, {"quantization": measured}, left_out, question)
    record = {
        "directory": str(asked.directory),
        "over": ", ".join(dict.fromkeys(rows["over"])),
        "margin": asked.margin,
        "level": LEVEL,
        **{name: json_rows(one.table) for name, one in sections.items() if one.table is not None},
        "left_out": dict(left_out),
        "page": str(page),
        "made": measured.made,
    }
    write_json(folder / FILE, record)
    return record


def _check(asked: Quantize) -> None:
    for name in asked.recipes:
        check_choice("--recipe", name, RECIPES)
    if not 0 < asked.margin < np.inf:
        raise ValueError(f"--margin is {asked.margin}: it must be a positive number of nats")


def _sources(asked: Quantize, load: Load) -> list[tuple[dict[str, Any], Path, Source]]:
    """The arm, folder and networks of every cell, or of the one folder. Raises ValueError as `quantize` does."""
    found = opened_cells(asked.directory, load, asked.ignore, users_code(asked.experiment))
    for _, folder, source in found:
        check_source(source, folder)
    return found


def check_source(source: Source, folder: Path) -> None:
    """Raises ValueError for networks that cannot be quantized."""
    check_quantizable(source.model)
    if source.collections:
        raise ValueError(f"{folder} has {', '.join(source.collections)}: such networks cannot be quantized")


def own_text(source: Source, load: Load) -> Text:
    """The training text of networks of ours, and the windows of the last evaluation of their test text."""
    arrays = load(source.task).arrays
    return Text(source.task, arrays["train"], batches_of(source.task, arrays["test"], source.settings))


def _text(asked: Quantize, source: Source, load: Load) -> Text:
    """Ours are calibrated on their own training text, and measured on the windows of the last evaluation, or on all of
    the given texts; a Hugging Face network is calibrated on the training part of the text, and measured on the rest."""
    own = source.task
    if own is not None and not asked.texts:
        return own_text(source, load)
    names = " ".join(asked.texts)
    tasks = [texts.task_of(source, asked.directory, name) for name in asked.texts or (None,)]
    task, sets = tasks[0], [load(one) for one in tasks]
    Cell(task, source.model, Settings(), (), ()).check()  # the task's tokens are the model's
    train = load(own).arrays["train"] if own else texts.joined(task, sets, ["train"], names)
    unseen = texts.SPLITS if own else ("validation", "test")
    test = texts.joined(task, sets, unseen, names)
    return Text(task, train, batches_of(task, test, source.settings))


def batches_of(task: Any, arrays: Mapping[str, np.ndarray], settings: Settings | None) -> Batches:
    """The windows of the last evaluation; without settings, those of any other."""
    return Batches.of(final_batches(task, arrays, BATCH, settings.final_examples if settings else 0))


def measured(
    model: Any,
    parameters: Mapping[Any, Any],
    text: Text,
    recipes: Sequence[str] = (),
    sites: Sequence[str] = SITES,
) -> Quantization:
    """The losses of networks of one model, by seed, with every recipe (all unless given), and with each of `sites` kept
    in float in turn; all networks in one compiled program, in float32."""
    if getattr(model, "scan", False):
        model, parameters = model.clone(scan=False), {seed: unstacked(own) for seed, own in parameters.items()}
    model = model.clone(dtype="float32")
    seeds = [-1 if seed is None else seed for seed in parameters]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parameters.values())
    with jax.default_matmul_precision("float32"):
        read = dense_inputs.read(text.task, model, params, _calibration(text))
        limits = {path: inputs.limit for path, inputs in read.items()}
        unchanged = losses(model, text, params)
        rows = []
        for recipe, kept in _variants(recipes, sites):
            other, own = quantized(model, params, recipe, limits, kept)
            apart = costs.differences(losses(other, text, own), unchanged, seeds)
            rows.append(apart.assign(recipe=recipe, kept="".join(kept)))
    return Quantization(pd.concat(rows, ignore_index=True), _read(read, seeds))


def _variants(recipes: Sequence[str], sites: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every recipe everywhere, and with each site kept in float; first none."""
    yield costs.FLOAT, ()
    for recipe in dict.fromkeys(recipes or RECIPES):
        if recipe != costs.FLOAT:
            yield from ((recipe, kept) for kept in ((), *((site,) for site in sites)))


def _calibration(text: Text) -> dict[str, Any]:
    batch = text.task.batch(text.train, 0, 0, CALIBRATION)
    return {name: field.reshape(-1, AT_ONCE, *field.shape[1:]) for name, field in batch.items()}


def losses(model: Any, text: Text, params: Any) -> Measured:
    """The loss of every network on every window; leaves of `params` have a leading axis of networks."""
    length = min(PORTION, len(text.batches))
    parts = [_sums(model, text.task, params, portion) for portion in text.batches.portions(length)]
    return by_example([jax.device_get(part) for part in parts], text.batches)["loss"]


@partial(jax.jit, static_argnums=(0, 1))
def _sums(model: Any, task: Any, params: Any, batches: Any) -> Any:
    """The metrics of every network on every example."""

    def of_network(own: Any) -> Any:
        return step.evaluate(model, task, step.State(own, None, {}), batches)[1]

    return jax.vmap(of_network)(params)


def _read(read: Mapping[str, dense_inputs.Inputs], seeds: Sequence[int]) -> pd.DataFrame:
    """One row per network and input; layers that read the same are one. Those of cross-attention have rows of their
    own: its queries read the decoder, its keys and values the encoder's output."""
    rows = []
    for path, inputs in read.items():
        site, (layer, _, within) = site_of(path), path.partition("/")
        crossed = within.startswith("cross_attention/")
        if site is None or within.endswith(("/value", "/gate")) or (within.endswith("/key") and not crossed):
            continue
        layer = path if crossed else layer
        values = zip(seeds, np.asarray(inputs.kurtosis), np.asarray(inputs.max_over_median), strict=True)
        rows += [
            {"seed": seed, "site": site, "layer": layer, "kurtosis": kurtosis, "max_over_median": most}
            for seed, kurtosis, most in values
        ]
    return pd.DataFrame(rows)
