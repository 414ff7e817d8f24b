"""Reads experiment.json, the record of a results directory, including those of older versions."""

from pathlib import Path
from typing import Any

from lab.files.atomic import read_json
from lab.results.shape import RECORD, difference

FILE = "experiment.json"
RENAMED = {"own": "overrides", "baselines": "reference_predictors"}
"""Old key -> current key."""


def read_record(directory: Path) -> dict[str, Any]:
    """The record of a results directory, with the keys of this version.

    Raises FileNotFoundError if the directory has none, ValueError if the file is damaged.
    """
    if not (directory / FILE).exists():
        raise FileNotFoundError(f"{directory} is not a results directory: it has no {FILE}")
    record: Any = read_json(directory / FILE)
    if isinstance(record, dict):
        record = {RENAMED.get(key, key): value for key, value in record.items()}
    if (wrong := difference(record, RECORD)) is not None:
        raise ValueError(f"{directory / FILE} is damaged ({wrong}), or of another program: choose another folder")
    return record
