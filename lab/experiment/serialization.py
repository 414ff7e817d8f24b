"""Frozen values as JSON, and back: what a result is a result of, and what its name is made from."""

import dataclasses
import importlib
import inspect
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.experiment.fields import field_names
from lab.files.choices import nearest
from models.activations import Activation

BUILT_IN = {
    "Transformer": "models.transformer:Transformer",
    "EncoderDecoder": "models.transformer:EncoderDecoder",
    "Classifier": "models.classifier:Classifier",
    "VisionTransformer": "models.vision:VisionTransformer",
    "MLP": "models.mlp:MLP",
    "ConvNet": "models.convnet:ConvNet",
    "WideResNet": "models.wide_resnet:WideResNet",
    "RopeScaling": "models.layers.positions:RopeScaling",
    "CausalLanguage": "lab.tasks.language:CausalLanguage",
    "NextToken": "lab.tasks.next_token:NextToken",
    "MaskedLanguage": "lab.tasks.masked:MaskedLanguage",
    "SpanCorruption": "lab.tasks.spans:SpanCorruption",
    "TweetTagging": "lab.tasks.tagging:TweetTagging",
    "TextClassification": "lab.tasks.classification:TextClassification",
    "ImageClassification": "lab.tasks.images:ImageClassification",
    "ImageAutoencoding": "lab.tasks.images:ImageAutoencoding",
    "TextsInTurn": "lab.tasks.in_turn:TextsInTurn",
    "SlowlyChanging": "lab.tasks.slowly_changing:SlowlyChanging",
    "SpokenDigits": "lab.tasks.audio.speech:SpokenDigits",
    "Phones": "lab.tasks.audio.phones:Phones",
    "Settings": "lab.training.settings:Settings",
    "Hyperparameters": "lab.training.settings:Hyperparameters",
    "Start": "lab.experiment.init_from:InitFrom",
}
"""The built-in types by their names in JSON, which stay when a type moves or is renamed: results are found by them.

A type is imported once a file names it. All others are a user's own, by `module:qualname`: those are never imported.
"""
SHORT = {place: name for name, place in BUILT_IN.items()}

Code = Mapping[str, Any]
"""A user's own types and activations by their names in JSON: see `code_of`."""


def canonical(value: Any) -> Any:
    """A value as JSON: a dataclass or a Flax module becomes its type's name and its fields, an activation its name.

    Fields that two equal values may differ in are left out, and those that came after version 0.1.0 (their metadata
    say `since`) where they are as before there were any: what was made before keeps its name. That is as by default,
    unless the metadata have another value (`before`). Of a user's own code only the name is here: what it computes is
    told by `lab.experiment.own_code`. Raises TypeError for what has no such form.
    """
    if isinstance(value, Activation):
        return value.name if value.built_in else {"name": value.name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        newer = _before(type(value))
        names = [name for name in field_names(value) if name not in newer or getattr(value, name) != newer[name]]
        fields = {name: canonical(getattr(value, name)) for name in names}
        return {"type": type_name(type(value)), **fields}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if callable(value) or type(value).__module__ != "builtins":  # an initializer, a dtype, a user's own object
        return {"type": getattr(value, "__qualname__", type(value).__qualname__)}
    raise TypeError(f"{value!r} has no canonical form: use numbers, strings, tuples and dataclasses")


def ours(value: Any) -> bool:
    """Whether a value is made of the built-in types alone, and of activations, whosever they are."""
    if isinstance(value, Activation):
        return True
    if isinstance(value, (list, tuple)):
        return all(map(ours, value))
    if is_built_in(type(value)):
        return all(ours(getattr(value, name)) for name in field_names(value))
    return value is None or isinstance(value, (str, int, float, bool))


def restored(form: Any, code: Code | None = None, ignore: tuple[str, ...] = ()) -> Any:
    """The value that has this canonical form; fields that it lacks, since they are newer, are as before there were
    any, else as by default.

    `code` has the user's own types and activations that the form may name; nothing is imported for them. `ignore` are
    keys beside the fields. Raises ValueError, naming it, for a type or field that is not known here, and for a type or
    activation of a user's own that `code` lacks.
    """
    code = code or {}
    if isinstance(form, list):
        return tuple(restored(item, code) for item in form)
    if not isinstance(form, Mapping):
        return form
    if "type" not in form:
        return _activation(form, code)
    name = str(form["type"])
    if name in code and not dataclasses.is_dataclass(code[name]):
        return code[name]  # a dtype, an initializer
    kind = _type(name, code)
    known = inspect.signature(kind).parameters
    fields = {field: value for field, value in form.items() if field in known or field not in ("type", *ignore)}
    for field in fields:
        if field not in known:
            raise ValueError(f"{kind.__name__} has no field '{field}'{nearest(field, known)}")
    return kind(**{**_before(kind), **{field: restored(value, code) for field, value in fields.items()}})


def _before(kind: type) -> dict[str, Any]:
    """The fields that came after version 0.1.0, with the value that stands for how it was without them."""
    plain = [item for item in dataclasses.fields(kind) if item.default_factory is dataclasses.MISSING]
    newer = [item for item in plain if "since" in item.metadata]
    return {item.name: item.metadata.get("before", item.default) for item in newer}


def code_of(*values: Any) -> dict[str, Any]:
    """The types, activations and other code in these values that are a user's own, by their names in JSON."""
    return {name: code for value in values for name, code in _own(value)}


def is_built_in(kind: type) -> bool:
    """Whether a type is one of `BUILT_IN`."""
    return _place(kind) in SHORT


def type_name(kind: type) -> str:
    """The name of a type in JSON: of a built-in one that in `BUILT_IN`, of another module:qualname.

    A file that is run as a script, or read as an experiment, counts as the module that it would be if it were imported.
    """
    place = _place(kind)
    return SHORT.get(place) or f"{_module(kind.__module__)}:{kind.__qualname__}"


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _module(name: str) -> str:
    """The name under which a module would be imported: scripts and experiment files have another meanwhile."""
    module = sys.modules.get(name)
    if name == "__main__" and (spec := getattr(module, "__spec__", None)):
        return spec.name  # python -m
    file = getattr(module, "__file__", None)
    return Path(file).stem if file and (name == "__main__" or name.startswith("<")) else name


def _type(name: str, code: Code) -> type:
    if name in BUILT_IN:
        module, _, qualname = BUILT_IN[name].partition(":")
        return getattr(importlib.import_module(module), qualname)
    if name in code:
        return code[name]
    if ":" in name:
        raise ValueError(
            f"type '{name}' is one of your own, and a results folder holds no code: give the experiment that defines "
            f"it, or its file (--experiment FILE.py)"
        )
    raise ValueError(f"type '{name}' is not known: known are {', '.join(BUILT_IN)}")


def _activation(form: Mapping[str, Any], code: Code) -> Activation:
    name = str(form.get("name"))
    if name not in code:
        raise ValueError(
            f"activation '{name}' is one of your own, and a results folder holds no code: give the experiment that "
            f"defines it, or its file (--experiment FILE.py)"
        )
    return code[name]


def _own(value: Any) -> Iterator[tuple[str, Any]]:
    """Name in JSON and value of each type and activation in a value that is not built in."""
    if isinstance(value, Activation):
        if not value.built_in:
            yield value.name, value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _own(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not is_built_in(type(value)):
            yield type_name(type(value)), type(value)
        for name in field_names(value):
            yield from _own(getattr(value, name))
    elif isinstance(form := canonical(value), Mapping):  # a dtype, an initializer
        yield form["type"], value
