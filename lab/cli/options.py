"""What a command accepts, as options: every field of a dataclass, or of a tree of dataclasses.

    --settings.batch-size 8     the field `settings.batch_size`
    --seeds 0 1 2               a tuple takes all words up to the next option
    --retrain                   a bool alone means True

The help (`lab.cli.help`) is drawn from the same list, so what it shows is what is accepted.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lab.experiment.duration import Duration
from lab.experiment.fields import Field, fields_of, with_fields
from lab.files.choices import check_choice, nearest

T = TypeVar("T")

READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: ({"True": True, "False": False}.__getitem__, "True or False"),
    str: (str, "a word"),
    Path: (Path, "a path"),
    Duration: (Duration.read, "a positive number with s, m or h, such as 90s, 30m or 2h"),
}
"""Type -> what reads a word of the command line, and what such a word must be."""
ALIASES = {"--begin-with": "--init-from", "--until-resolved": "--sequential"}
"""Options of the previous release, accepted for one more."""


@dataclass(frozen=True)
class Option:
    """One field that words can set."""

    path: str
    """Dotted path of the field in the tree."""
    declared: Any
    """Its declared type."""
    default: Any
    """Its value unless given; MISSING if it has to be given."""
    positional: bool = False
    """Whether it is given without its name, in order."""
    owner: type | None = None
    """The dataclass that declares it, whose source documents it."""
    tree: str = ""
    """The tree that it is a field of, whose name the option leaves out."""

    @property
    def name(self) -> str:
        """The option as it is written: --settings.batch-size; of a positional one its word: DIRECTORY."""
        path = self.path.removeprefix(f"{self.tree}.")
        return path.upper() if self.positional else f"--{path.replace('_', '-')}"


def positional(**keywords: Any) -> Any:
    """A dataclass field that is given without its name."""
    return dataclasses.field(metadata={"positional": True}, **keywords)


def options(kind: type, trees: Mapping[str, Any] = {}) -> list[Option]:
    """The options of a dataclass, in the order of its fields.

    `trees` are values of fields that are dataclasses themselves: their own fields become options without the name of
    the outer one. Fields that no word can give, such as functions, are left out.
    """
    found: list[Option] = []
    types = get_type_hints(kind)
    for item in dataclasses.fields(kind):
        if item.name in trees:
            found += [_of_tree(field, item.name) for field in fields_of(trees[item.name], f"{item.name}.")]
        else:
            found.append(_option(item, types[item.name], kind))
    return [option for option in found if element(option.declared) is not None]


def read(kind: type[T], words: Sequence[str], program: str, trees: Mapping[str, Any] = {}) -> T:
    """A dataclass with the fields that the words set.

    Raises ValueError, in one sentence, for an option that is unknown or repeated, a value of the wrong kind, and a
    required one that is missing.
    """
    return built(kind, values(options(kind, trees), words, program), trees)


def built(kind: type[T], found: Mapping[str, Any], trees: Mapping[str, Any]) -> T:
    """The dataclass with values at dotted paths, in copies of the trees."""
    top = {path: value for path, value in found.items() if "." not in path}
    inside = {
        name: with_fields(tree, {path.partition(".")[2]: value for path, value in found.items() if _in(path, name)})
        for name, tree in trees.items()
    }
    return kind(**top, **inside)


def values(known: Sequence[Option], words: Sequence[str], program: str) -> dict[str, Any]:
    """Path -> value of every option that the words give. Raises ValueError as `read` does."""
    by_name = {option.name: option for option in known if not option.positional}
    places = [option for option in known if option.positional]
    given: dict[str, Any] = {}
    for name, following in split(words):
        if name is None:
            _place(following, places, given, program)
            continue
        option = by_name.get(name) or _unknown(name, by_name, program)
        if option.path in given:
            raise ValueError(f"{name} is given twice")
        own, rest = _own_words(option, following, len(places))
        given[option.path] = value(name, option.declared, own)
        _place(rest, places, given, program)
    missing = [option.name for option in known if option.default is MISSING and option.path not in given]
    if missing:
        raise ValueError(f"{program} needs {' and '.join(missing)} (see {program} --help)")
    return given


def split(words: Sequence[str]) -> Iterator[tuple[str | None, list[str]]]:
    """Every option with the words after it, starting with the words before any option as (None, words).

    --seeds=0 is --seeds 0, and underscores are dashes.
    """
    starts = [index for index, word in enumerate(words) if re.match("--[A-Za-z]", word)]
    if words and 0 not in starts:
        yield None, list(words[: starts[0] if starts else len(words)])
    for start, end in itertools.pairwise([*starts, len(words)]):
        name, equals, first = words[start].partition("=")
        name = name.replace("_", "-")
        yield ALIASES.get(name, name), [first] * len(equals) + list(words[start + 1 : end])


def value(name: str, declared: Any, words: Sequence[str]) -> Any:
    """The words after an option as a value of the field's declared type. Raises ValueError if they are invalid."""
    if element(declared) is bool and not words:
        return True
    if not words:
        raise ValueError(f"{name} needs a value")
    found = tuple(_read(name, declared, word) for word in words)
    if takes_many(declared):
        return found
    if len(found) > 1:
        raise ValueError(f"{name} takes one value, not {' '.join(words)}")
    return found[0]


def takes_many(declared: Any) -> bool:
    """Whether a field of this type takes several words."""
    return get_origin(_not_none(declared)) is tuple


def _of_tree(field: Field, tree: str) -> Option:
    return Option(field.path, field.declared, field.value, False, field.owner, tree)


def _option(item: dataclasses.Field, declared: Any, kind: type) -> Option:
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    return Option(item.name, declared, default, item.metadata.get("positional", False), kind)


def _own_words(option: Option, words: Sequence[str], places: int) -> tuple[list[str], list[str]]:
    """The words that are the option's, and those that positional ones may take."""
    if takes_many(option.declared) or not places:
        return list(words), []
    flag = element(option.declared) is bool and words and words[0] not in ("True", "False")
    own = 0 if flag else 1
    return list(words[:own]), list(words[own:])


def _place(words: Iterable[str], places: Sequence[Option], given: dict[str, Any], program: str) -> None:
    for word in words:
        free = [option for option in places if option.path not in given]
        if not free:
            raise ValueError(f"{program} takes no '{word}' (see {program} --help)")
        option = free[0]
        given[option.path] = value(option.name, option.declared, [word])


def _unknown(name: str, known: Iterable[str], program: str) -> Option:
    hint = nearest(name, known) or f": see {program} --help"
    raise ValueError(f"there is no option {name}{hint}")


def _read(name: str, declared: Any, word: str) -> Any:
    kind = element(declared)
    if word == "None" and NoneType in get_args(declared):
        return None
    if get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in get_args(kind)}
        check_choice(name, word, choices)
        return choices[word]
    convert, allowed = READERS[kind]
    try:
        return convert(word)
    except (ValueError, KeyError):
        raise ValueError(f"{name} is '{word}': it must be {allowed}") from None


def element(declared: Any) -> Any:
    """What one word is read as: the type of a tuple's items, the first of a union; None if words cannot give it."""
    inner = _not_none(declared)
    if get_origin(inner) is tuple and get_args(inner)[1:] == (...,):
        inner = _not_none(get_args(inner)[0])
    return inner if inner in READERS or get_origin(inner) is Literal else None


def _not_none(declared: Any) -> Any:
    if get_origin(declared) not in (Union, UnionType):
        return declared
    return next(member for member in get_args(declared) if member is not NoneType)


def _in(path: str, name: str) -> bool:
    return path.startswith(f"{name}.")
