"""Trees of dataclasses, such as an experiment: their fields by dotted path, and copies with other values."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_type_hints


class Field(NamedTuple):
    """A field of a tree that is no tree itself."""

    path: str
    """Dotted path: settings.batch_size."""
    declared: Any
    """Its declared type."""
    value: Any
    """Its value in this tree."""
    owner: type
    """The dataclass that declares it."""


def fields_of(tree: Any, prefix: str = "") -> Iterator[Field]:
    """Every field of a tree, depth first. An activation is a value, not a tree."""
    types = _hints(type(tree))
    for name in field_names(tree):
        value = getattr(tree, name)
        if _is_tree(value):
            yield from fields_of(value, f"{prefix}{name}.")
        else:
            yield Field(f"{prefix}{name}", types.get(name, Any), value, type(tree))


def field_types(tree: Any) -> dict[str, Any]:
    """Dotted path -> declared type of every field of a tree."""
    return {field.path: field.declared for field in fields_of(tree)}


def with_fields(tree: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a tree with other values at dotted paths, those of one dataclass set at once."""
    own = {path: value for path, value in values.items() if "." not in path}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        if rest:
            inner.setdefault(name, {})[rest] = value
    below = {name: with_fields(getattr(tree, name), found) for name, found in inner.items()}
    return dataclasses.replace(tree, **own, **below)


def field_names(value: Any) -> list[str]:
    """The fields of a dataclass that equal values share; of a Flax module without the two that Flax adds."""
    added = ("parent", "name") if hasattr(value, "parent") else ()
    return [item.name for item in dataclasses.fields(value) if item.compare and item.name not in added]


def _hints(kind: type) -> dict[str, Any]:
    """The declared types of fields; of a user's own type none, where they are names that are not to be found."""
    try:
        return get_type_hints(kind)
    except NameError:
        return {}


def _is_tree(value: Any) -> bool:
    from models.activations.registry import Activation  # imports JAX

    return dataclasses.is_dataclass(value) and not isinstance(value, (Activation, type))
