"""What looks inside networks: in training, and inside a pretrained one on a text."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pandas as pd

from lab.experiment import swapping
from lab.experiment.experiment import Cell
from lab.probes.telemetry import in_order, measure, record
from lab.runner.networks import texts
from lab.runner.networks.sources import Load
from lab.statistics.curves.spikes import WINDOW, spikes
from lab.training.settings import Settings
from lab.training.telemetry import Probe
from models import pretrained

PROBE = Probe(measure, in_order, spikes, WINDOW)
COLUMNS = ["layer", "site", "metric", "value"]


def of_pretrained(directory: Path, text: Path, load: Load, ignore: tuple[str, ...] = ()) -> pd.DataFrame:
    """Rows of layer, site, metric and value of the network of a Hugging Face folder, on the first windows of a text.

    It reads `lab.experiment.swapping.BATCH` windows of at most `LONGEST` tokens. Raises ValueError for a network that
    reads no text and a text that is too short, and what `models.pretrained.load` raises.
    """
    model, params = pretrained.load(directory, ignore=ignore)
    task = swapping.text_task(model, f"text:{text}", str(directory / "tokenizer.json"))
    Cell(task, model, Settings(), (), ()).check()  # the task's tokens are the model's
    arrays = texts.joined(task, [load(task)], texts.SPLITS, str(text))
    batches = task.evaluation_batches(arrays, swapping.BATCH)
    batch = {name: field[0] for name, field in batches.items()}
    counted = batch["weight"].reshape(len(batch["weight"]), -1).any(axis=1)  # the rest only fills the batch up
    inputs = task.inputs({name: jnp.asarray(field[counted]) for name, field in batch.items()})
    found = jax.jit(lambda params: record(model, {"params": params}, inputs))(params)
    return pd.DataFrame([(*key, float(found[key])) for key in in_order(found)], columns=COLUMNS)
