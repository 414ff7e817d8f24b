"""Frozen values as JSON, and back: what a result is a result of, and what its name is made from."""

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

from lab.experiment.fields import field_names
from lab.experiment.init_from import InitFrom
from lab.files.choices import nearest
from lab.tasks.classification import TextClassification
from lab.tasks.images import ImageAutoencoding, ImageClassification
from lab.tasks.language import CausalLanguage
from lab.tasks.masked import MaskedLanguage
from lab.tasks.phones import Phones
from lab.tasks.spans import SpanCorruption
from lab.tasks.speech import SpokenDigits
from lab.tasks.tagging import TweetTagging
from lab.training.settings import Settings
from models.activations import Activation
from models.classifier import Classifier
from models.convnet import ConvNet
from models.layers.positions import RopeScaling
from models.mlp import MLP
from models.transformer import EncoderDecoder, Transformer
from models.vision import VisionTransformer
from models.wide_resnet import WideResNet

KNOWN: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(Transformer, EncoderDecoder, Classifier, VisionTransformer, MLP, ConvNet, WideResNet, RopeScaling),
        *(CausalLanguage, MaskedLanguage, SpanCorruption, TweetTagging, TextClassification),
        *(ImageClassification, ImageAutoencoding, SpokenDigits, Phones),
        *(Settings, InitFrom),
    )
}
"""The types that are restored from JSON, by name: nothing else that a file names is ever called."""


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
        return {"type": type(value).__name__, **fields}
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
    """Whether a value is made of the types of this project alone, and of activations, whosever they are."""
    if isinstance(value, Activation):
        return True
    if isinstance(value, (list, tuple)):
        return all(map(ours, value))
    if type(value) in KNOWN.values():
        return all(ours(getattr(value, name)) for name in field_names(value))
    return value is None or isinstance(value, (str, int, float, bool))


def restored(form: Any, ignore: tuple[str, ...] = ()) -> Any:
    """The value that has this canonical form; fields that it lacks, since they are newer, are as before there were
    any, else as by default.

    `ignore` are keys beside the fields. Raises ValueError, naming it, for a type or field that is not known here, and
    for an activation that is a user's own: its function is not in the file.
    """
    if isinstance(form, list):
        return tuple(restored(item) for item in form)
    if not isinstance(form, Mapping):
        return form
    if "name" in form and "type" not in form:
        raise ValueError(f"activation '{form['name']}' is one of your own: only built-in ones are made from a file")
    kind = KNOWN.get(str(form.get("type")))
    if kind is None:
        raise ValueError(f"type '{form.get('type')}' is not known: known types are {', '.join(KNOWN)}")
    known = inspect.signature(kind).parameters
    fields = {name: value for name, value in form.items() if name not in ("type", *ignore)}
    for name in fields:
        if name not in known:
            raise ValueError(f"{kind.__name__} has no field '{name}'{nearest(name, known)}")
    return kind(**{**_before(kind), **{name: restored(value) for name, value in fields.items()}})


def _before(kind: type) -> dict[str, Any]:
    """The fields that came after version 0.1.0, with the value that stands for how it was without them."""
    plain = [item for item in dataclasses.fields(kind) if item.default_factory is dataclasses.MISSING]
    newer = [item for item in plain if "since" in item.metadata]
    return {item.name: item.metadata.get("before", item.default) for item in newer}
