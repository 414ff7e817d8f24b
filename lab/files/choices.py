"""How a value that is not allowed is refused: in one sentence, with what is allowed and the nearest of it."""

import difflib
from collections.abc import Iterable
from typing import Any


def check_choice(field: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raises ValueError, naming field, value, what is allowed and the nearest of it, where the value is not allowed."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{field} is '{value}': allowed are {', '.join(map(str, allowed))}{nearest(value, allowed)}")


def nearest(value: Any, allowed: Iterable[Any]) -> str:
    """The end of a sentence that refuses a value, `; did you mean 'gelu'?`; nothing where nothing allowed is near."""
    near = difflib.get_close_matches(str(value), map(str, allowed), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
