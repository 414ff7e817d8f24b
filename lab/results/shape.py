"""The required shape of the JSON files in a results directory, to detect damaged or foreign files."""

from pathlib import Path
from typing import Any

from lab.files.atomic import read_json
from lab.files.damaged import DamagedFileError

NUMBER = int | float
SCORE = {"metric": str, "split": str, "value": NUMBER}
PLAN = {"arms": [str], "step": int, "steps": int, "n": int, "rules?": [{str: object}], str: object}
RECORD = {
    "name": str,
    "axes": [str],
    "question?": str,
    "baseline": str,
    "metric": str,
    "split": str,
    "directions?": {str: str},
    "level": NUMBER,
    "steps": int,
    "seeds": [int],
    "cells?": {str: int},
    "arms?": {str: {"activation": str, "axes": {str: object}, "seeds": [int], "points": int}},
    "overrides?": [{"arm": {str: object}, "fields": {str: object}}],
    "margin?": NUMBER | None,
    "target?": NUMBER | None,
    "looks?": [int],
    "published?": {str: NUMBER},
    "reference_predictors?": {str: {str: SCORE}},
    "plan?": (None, {"fields": PLAN, "sha256": str, "file?": str}),
    "command?": str,
    "definition?": {str: object},
}
CELL = {
    "cell": str,
    "activation": str,
    "axes": {str: object},
    "task": {"name": str},
    "model": {"name": str},
    "settings": {"steps": int},
    "cost": {"parameters?": NUMBER, "flops_per_token": NUMBER},
    "own_code?": {str: object},
}
RUNS = [{"seed": NUMBER, str: int | float | str}]
ENVIRONMENTS = [
    {
        "commit": str,
        "versions?": {str: str},
        "x64?": bool,
        "telemetry?": bool,
        "device?": str,
        "data?": {str: object},
        "device_bytes?": NUMBER,
    }
]
MATCHED = {"arms": [{"arm": {str: object}, "fields": {str: object}, "seconds_per_step": NUMBER}]}
"""A type, [the shape of all items], {field: its shape}, or (None, the shape) for a nullable value; `field?` is
optional, and `str` stands for any field."""


def read_shaped(path: Path, shape: Any) -> Any:
    """Read a JSON file and check its shape.

    Raises DamagedFileError, naming file and field, if it is damaged or has another shape, FileNotFoundError if it is
    missing.
    """
    value = read_json(path)
    if (wrong := difference(value, shape)) is not None:
        raise DamagedFileError(f"{path} is damaged ({wrong}): delete it to recompute it")
    return value


def difference(value: Any, shape: Any, where: str = "it") -> str | None:
    """The first deviation of a value from a shape, in words; None if there is none."""
    if isinstance(shape, tuple):
        return None if value is None else difference(value, shape[1], where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _wrong(where, value, "a list")
        found = (difference(item, shape[0], f"{where}[{index}]") for index, item in enumerate(value))
        return next(filter(None, found), None)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return _wrong(where, value, "a JSON object")
        return next(filter(None, _differences(value, shape, where)), None)
    if isinstance(value, shape) and (not isinstance(value, bool) or shape in (bool, object)):
        return None
    return _wrong(where, value, getattr(shape, "__name__", str(shape)))


def _differences(value: dict[str, Any], shape: dict[Any, Any], where: str) -> Any:
    named = {name.removesuffix("?"): name for name in shape if isinstance(name, str)}
    for name, key in named.items():
        if name not in value and not key.endswith("?"):
            yield f"{_path(where, name)} is missing"
        elif name in value:
            yield difference(value[name], shape[key], _path(where, name))
    if str in shape:
        for name, inner in value.items():
            if name not in named:
                yield difference(inner, shape[str], _path(where, name))


def _path(where: str, name: str) -> str:
    return name if where == "it" else f"{where}.{name}"


def _wrong(where: str, value: Any, allowed: str) -> str:
    text = repr(value)
    return f"{where} is {text if len(text) <= 40 else text[:37] + '...'}, but must be {allowed}"
