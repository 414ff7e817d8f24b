"""The text on which trained networks are measured: that of their own task, or another one with the same tokens."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.text.tokenizers import TRAINED
from lab.experiment import swapping
from lab.runner.networks.sources import Source
from lab.tasks.windows import Windows
from lab.training.train import Dataset

SPLITS = ("train", "validation", "test")


def task_of(source: Source, directory: Path, text: str | None = None) -> Any:
    """What networks of a folder are measured on: their own task, on the file `text` if given; for a Hugging Face
    folder the task of its kind with its tokenizer, on the file or the corpus `stdlib`.

    Raises ValueError for networks that read no text, and for a text given to a task whose tokenizer is trained on its
    own text: another one would have other tokens.
    """
    own = source.task
    if own is None:
        data = "stdlib" if text is None else f"text:{text}"
        return swapping.text_task(source.model, data, str(directory / "tokenizer.json"))
    if text is None:
        return own
    if not isinstance(own, Windows):
        raise ValueError(f"--text is {text}: task {own.name} does not read windows of a text")
    if own.tokenizer in TRAINED:
        raise ValueError(
            f"--text is {text}: tokenizer '{own.tokenizer}' is trained on the text of the task, {own.data}, and would "
            "give other tokens on another text"
        )
    return replace(own, data=f"text:{text}")


def joined(task: Windows, datasets: Sequence[Dataset], splits: Sequence[str], names: str) -> dict[str, np.ndarray]:
    """The tokens of splits of texts, one text after another, each counted as one byte: what is measured here does not
    depend on the number of bytes. Raises ValueError, with the `names` of the texts, if they are too short for a
    window."""
    tokens = np.concatenate([one.arrays[split]["tokens"] for one in datasets for split in splits])
    if len(tokens) < task.window:
        raise ValueError(
            f"--text {names} has {len(tokens)} tokens to measure on: it must have at least {task.window}, a window"
        )
    return {"tokens": tokens, "bytes": np.ones(len(tokens), np.int32)}
