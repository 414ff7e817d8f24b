"""A hash of what a function computes: equal in every process, different once its code or a captured value changes."""

import functools
import hashlib
import inspect
import re
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

Trail = tuple[FunctionType, ...]  # the functions being described, outermost first


def source_hash(function: Callable[..., Any]) -> str:
    """SHA-256 (hex) of a function's source (bytecode if there is none), its defaults and the values it captures.

    Functions that it calls are included if they are in the same module; those of other modules count by name.
    """
    return hashlib.sha256(_text(function, ()).encode()).hexdigest()


def _text(value: Any, trail: Trail) -> str:
    if isinstance(value, FunctionType):
        followed = not trail or (value not in trail and value.__module__ == trail[-1].__module__)
        return _function_text(value, (*trail, value)) if followed else f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, functools.partial):
        return _text([value.func, value.args, value.keywords], trail)
    if isinstance(value, dict):
        return _text(sorted(value.items(), key=lambda item: str(item[0])), trail)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_text(item, trail) for item in value)}]"
    if isinstance(value, ModuleType | type):
        return value.__name__
    if callable(value) and hasattr(value, "__dict__"):
        return _text([type(value).__call__, vars(value)], trail)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _function_text(function: FunctionType, trail: Trail) -> str:
    try:
        code = inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or made by exec
        code = _code_text(function.__code__)
    captured = inspect.getclosurevars(function)
    return _text([code, function.__defaults__, function.__kwdefaults__, captured.nonlocals, captured.globals], trail)


def _code_text(code: CodeType) -> str:
    constants = [_code_text(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
