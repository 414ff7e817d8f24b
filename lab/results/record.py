"""experiment.json: what was asked for in a results directory, also where an older version wrote it."""

from pathlib import Path
from typing import Any

from lab.files.atomic import read_json

FILE = "experiment.json"
RENAMED = {"own": "overrides", "baselines": "reference_predictors"}
"""Old key -> the key that it has now."""


def read_record(directory: Path) -> dict[str, Any]:
    """The record of a results directory, with the keys of this version.

    Raises FileNotFoundError if the directory has none, ValueError if the file is damaged.
    """
    if not (directory / FILE).exists():
        raise FileNotFoundError(f"{directory} holds no results: there is no {FILE} in it")
    return {RENAMED.get(key, key): value for key, value in read_json(directory / FILE).items()}
