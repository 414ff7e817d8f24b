"""Which cases of a test run every time: the others are marked slow, and `.ci/run` runs them."""

from collections.abc import Collection, Iterable
from pathlib import Path

import pytest


def slow_but(fast: Collection, values: Iterable) -> list:
    """All values as parameters, those that are not among the fast ones marked slow."""
    names = {value: value.name if isinstance(value, Path) else str(value) for value in values}
    return [
        pytest.param(value, id=name, marks=[] if value in fast else [pytest.mark.slow]) for value, name in names.items()
    ]
