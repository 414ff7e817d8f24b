"""One-sentence errors for values that are not allowed, with the allowed values and the nearest match."""

import difflib
from collections.abc import Iterable
from typing import Any


def check_choice(field: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises ValueError if a value is not allowed, naming the field, the value, the allowed ones and the nearest."""
    allowed = list(allowed)
    if value not in allowed:
        known = ", ".join(map(str, allowed))
        raise ValueError(f"{field} is '{value}': allowed values are {known}{nearest(value, allowed)}")


def nearest(value: Any, allowed: Iterable[Any]) -> str:
    """The end of an error, such as `; did you mean 'gelu'?`; empty if no allowed value is close."""
    near = difflib.get_close_matches(str(value), map(str, allowed), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
