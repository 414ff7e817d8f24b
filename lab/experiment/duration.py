"""A duration as it is written: 90s, 30m, 2h."""

import re

UNITS = {"s": 1, "m": 60, "h": 3600}


class Duration(float):
    """Seconds."""

    @classmethod
    def read(cls, text: str) -> "Duration":
        """The duration that a number and a unit name. Raises ValueError for anything else, and for none at all."""
        parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
        if parts is None or float(parts[1]) == 0:
            raise ValueError(f"'{text}' is no duration: give a positive number with s, m or h, such as 90s, 30m or 2h")
        return cls(float(parts[1]) * UNITS[parts[2]])

    def __str__(self) -> str:
        unit = next((unit for unit in "hm" if self >= 2 * UNITS[unit]), "s")
        return f"{self / UNITS[unit]:.3g}{unit}"
