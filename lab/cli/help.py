"""The help of a command, drawn from the options that it accepts."""

import ast
import inspect
import itertools
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from lab.cli.options import Option, element, takes_many

COLUMN = 34
"""Where the descriptions begin."""


def shown(program: str, summary: str, known: Sequence[Option]) -> str:
    """The help: usage, what the command does, and every option with its values, meaning and default, by group."""
    places = [option for option in known if option.positional]
    needed = [option for option in known if option.default is MISSING and not option.positional]
    named = [f"{option.name} {metavar(option.declared)}" for option in needed]
    usage = " ".join(["usage:", program, *map(_usage, places), *named, "[--OPTION VALUE ...]"])
    parts = [usage, "", summary]
    groups: dict[str, list[Option]] = {}
    for option in known:
        groups.setdefault(_group(option), []).append(option)
    for group, members in groups.items():
        parts += ["", f"{group}:", *(line for option in members for line in _lines(option))]
    return "\n".join(parts)


def about_subject(program: str, summary: str, subject: str) -> str:
    """The help of a command whose options depend on what it names first."""
    kinds = "an experiment of `ablations list`, or path/to/file.py" if subject == "experiment" else "a name of the list"
    usage = f"usage: {program} NAME [--OPTION VALUE ...]"
    return f"{usage}\n\n{summary}\n\n  NAME  {kinds}\n\nIts options: {program} NAME --help"


def _usage(option: Option) -> str:
    return option.name if option.default is MISSING else f"[{option.name}]"


def _group(option: Option) -> str:
    if option.positional:
        return "arguments"
    part, dot, _ = option.name.removeprefix("--").partition(".")
    return part if dot else "options"


def _lines(option: Option) -> list[str]:
    values = "" if option.positional else metavar(option.declared, option.default)
    left = f"  {option.name} {values}".rstrip()
    text = describe(option)
    width = max(40, min(120, shutil.get_terminal_size().columns) - COLUMN)
    body = textwrap.wrap(text, width) or [""]
    if len(left) > COLUMN - 2:
        return [left, *(" " * COLUMN + line for line in body)]
    return [left.ljust(COLUMN) + body[0], *(" " * COLUMN + line for line in body[1:])]


def metavar(declared: Any, default: Any = MISSING) -> str:
    """What the option's words look like: INT, {pre,post}, TEXT ...; nothing for a switch."""
    kind = element(declared)
    if kind is bool:
        return "" if default is False else "{True,False}"
    word = "{" + ",".join(map(str, get_args(kind))) + "}" if get_origin(kind) is Literal else _word(kind)
    return f"{word} ..." if takes_many(declared) else word


def _word(kind: type) -> str:
    return {int: "INT", float: "FLOAT", str: "TEXT"}.get(kind, kind.__name__.upper())


def describe(option: Option) -> str:
    """The docstring of the field, and its default."""
    text = documented(option.owner).get(option.path.rpartition(".")[2], "") if option.owner else ""
    if option.default is MISSING or option.default is False or option.default in (None, ()):
        return text
    return f"{text} (default: {words(option.default)})".strip()


def words(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, tuple):
        return " ".join(map(words, value))
    return str(getattr(value, "name", value))


@lru_cache
def documented(kind: type) -> dict[str, str]:
    """Field -> the string below it in the source of the class that declares it."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):  # built in, or made in a notebook
            continue
        (body,) = (node.body for node in tree.body[:1] if isinstance(node, ast.ClassDef))
        for node, below in itertools.pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(node.target, ast.Name):
                found[node.target.id] = " ".join(str(getattr(below.value, "value", "")).split())
    return found
