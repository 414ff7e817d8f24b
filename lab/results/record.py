"""Reads experiment.json, the record of a results directory, including the formats of older versions."""

from pathlib import Path
from typing import Any

from lab.files.atomic import read_json
from lab.files.damaged import DamagedFileError
from lab.results.shape import RECORD, difference

FILE = "experiment.json"
RENAMED = {"own": "overrides", "baselines": "reference_predictors"}
"""Old key -> current key."""
RENAMED_FIELDS = {"start": "init_from"}
"""Old field of an override -> current field."""


def read_record(directory: Path) -> dict[str, Any]:
    """The record of a results directory, with the keys of this version.

    Raises FileNotFoundError if the directory has none, DamagedFileError if the file is damaged.
    """
    if not (directory / FILE).exists():
        raise FileNotFoundError(f"{directory} is not a results directory: it has no {FILE}")
    record: Any = read_json(directory / FILE)
    if isinstance(record, dict):
        record = {RENAMED.get(key, key): value for key, value in record.items()}
    if (wrong := difference(record, RECORD)) is not None:
        raise DamagedFileError(
            f"{directory / FILE} is damaged ({wrong}), or was not written by this program: choose another folder"
        )
    return {**record, "overrides": [_override(one) for one in record.get("overrides", [])]}


def _override(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "fields": {RENAMED_FIELDS.get(path, path): value for path, value in one["fields"].items()}}
