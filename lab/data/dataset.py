"""The common form of all data sets: arrays in three splits, with provenance."""

from dataclasses import dataclass
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """The examples of a task on the host, with their provenance.

    `arrays` maps split (of `SPLITS`) -> field -> array, whose meaning the task defines. `provenance` is a JSON object:
    name, version, sha256 and sizes.
    """

    arrays: dict[str, dict[str, np.ndarray]]
    provenance: dict[str, Any]
