"""What every data set becomes: arrays in three splits, and where they came from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """The examples of a task on the host, and where they came from.

    `arrays` maps split (of `SPLITS`) -> field -> array, whose meaning is the task's. `provenance` is a JSON object:
    name, version, sha256 and sizes, or nothing of a data set of one's own.
    """

    arrays: dict[str, dict[str, np.ndarray]]
    provenance: dict[str, Any] = field(default_factory=dict)
