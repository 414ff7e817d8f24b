"""Converts a Hugging Face folder (config.json and safetensors) to a model and its parameters, and back."""

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from lab.files.atomic import write_json
from lab.files.choices import check_choice
from models.layers.scanned import stacked, unstacked
from models.layers.stack import Stack
from models.pretrained.accompanying import FILES, kept_keys
from models.pretrained.config import Config
from models.pretrained.format import Format, function
from models.pretrained.parameters import all_tensors, matched, read_parameters, shapes
from models.pretrained.registry import FORMATS, format_of
from models.pretrained.tensors import INDEX, SINGLE, Tensors, read_object, shards

logger = logging.getLogger(__name__)

NO_PARAMETERS = ("scan", "remat", "dtype", "dropout", "logit_chunk")
"""Fields that never change a parameter."""


def load(directory: str | Path, *, ignore: tuple[str, ...] = (), **fields: Any) -> tuple[Stack, dict[str, Any]]:
    """Load the model of a Hugging Face folder and its parameters in float32, tensor by tensor.

    `fields` override fields of the model that do not change its parameters, such as `scan=True`, `dtype="bfloat16"` or
    another `activation`; keys of the config listed in `ignore` count as absent. Dropout is 0 whatever the config says.
    A separate output layer in the file is used even if the config says that it is tied to the embedding. Keys that
    transformers does not read are named in one line of the log.

    Raises FileNotFoundError if a file is missing, and ValueError, in one sentence that names it, for an unknown model
    type, for keys of the config that are unsupported or have a wrong type, for a tensor that is missing, unexpected,
    damaged or of the wrong shape, and for a field that does not fit the weights.
    """
    directory = Path(directory)
    form, model = described(directory, ignore)
    tensors = Tensors(directory)
    model, found = matched(form, model, tensors)
    changed = _with_fields(model, fields, directory)
    params = read_parameters(form, model, tensors, found)
    return changed, stacked(params) if changed.scan else params


def described(directory: str | Path, ignore: tuple[str, ...] = ()) -> tuple[Format, Stack]:
    """The format and model described by a folder's config.json. Raises FileNotFoundError and ValueError as `load`."""
    path = Path(directory) / "config.json"
    values = {name: value for name, value in read_object(path).items() if name not in ignore}
    form = format_of(values.get("model_type"), str(path))
    config = Config(values, str(path), form.model_type)
    model = modelled(form, config)
    if config.unread:
        names = ", ".join(dict.fromkeys(config.unread))
        logger.warning("%s: ignored, as transformers does not read them: %s", path, names)
    return form, model.clone(source=str(Path(directory).resolve()))


def save(directory: str | Path, model: Stack, params: dict[str, Any]) -> None:
    """Write a folder that `load` and transformers can read, with a model type whose config describes the model.

    If the model was loaded from a folder, its special tokens, label names and tokenizer are kept. Existing weight files
    and their index are replaced. Everything is first written to a temporary folder beside the final place; existing
    files are touched only when nothing can fail any more, and config.json last, so that an interruption leaves the old
    folder, the new one, or one without a config. Raises ValueError, naming the difference from the nearest type, if no
    type computes the same as the model.
    """
    form, values = _written(model)
    flat = flatten_dict(unstacked(params) if model.scan else params, sep="/")
    tensors = {
        rule.name: np.array(rule.layout.write(*(flat[path] for path in rule.paths)), np.float32, order="C")
        for rule in all_tensors(form, model)
    }
    kind = {"architectures": [form.architecture], "model_type": form.model_type, "torch_dtype": "float32"}
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.glob(".saving-*"):  # of an interrupted save
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".saving-") as staging:
        save_file(tensors, Path(staging) / SINGLE, {"format": "pt"})
        with (Path(staging) / SINGLE).open("rb") as file:
            os.fsync(file.fileno())
        write_json(Path(staging) / "config.json", {**kind, **kept_keys(model, form, values), **values})
        accompanying = _copied(model.source, Path(staging))
        _put(directory, Path(staging), accompanying)


def modelled(form: Format, config: Config) -> Stack:
    """The model of a config. Raises ValueError with all problems of the config."""
    model = form.model(config)
    config.expect("quantization_config")
    config.expect("is_causal", form.causal)
    if not config.problems:
        try:
            model.check()
        except ValueError as error:
            config.problems.append(str(error))
        else:
            config.repeat("kv_channels", model.width)
    config.finish()
    return model


def _with_fields(model: Stack, fields: dict[str, Any], directory: Path) -> Stack:
    """The model with these fields. Raises ValueError, naming them, if its parameters would differ."""
    known = [name for name in model.__dataclass_fields__ if name not in ("parent", "name", "source")]
    for name in fields:
        check_choice(f"field of {type(model).__name__}", name, known)
    if not fields:
        return model
    changed = model.clone(**fields)
    changed.check()
    own, asked = shapes(model), shapes(changed.clone(scan=False))
    if own != asked:
        path = min(path for path in own.keys() | asked.keys() if own.get(path) != asked.get(path))
        has, asks = (f"a {list(there[path])}" if path in there else "none" for there in (own, asked))
        given = ", ".join(f"{name}={value!r}" for name, value in fields.items() if name not in NO_PARAMETERS)
        raise ValueError(f"{directory}: with {given} the parameter {path} is {asks}, but the weights have {has}")
    return changed


def _written(model: Any) -> tuple[Format, dict[str, Any]]:
    """The model type that describes the model, and its config; the type that it was loaded from is tried first."""
    wanted, nearest = function(model), None
    for form in sorted(FORMATS.values(), key=lambda form: form.model_type != _type_of_source(model)):
        try:
            values = form.config(model)
            own = function(modelled(form, Config(values, form.model_type, form.model_type)))
        except (AttributeError, ValueError, TypeError, ArithmeticError):
            continue  # fields that the type lacks, or values that it does not accept
        differing = [name for name in wanted if name in own and own[name] != wanted[name]]
        differing += sorted(wanted.keys() ^ own.keys())
        if not differing:
            return form, values
        if nearest is None or len(differing) < len(nearest[1]):
            nearest = (form.model_type, differing, own)
    if nearest is None:
        raise ValueError(f"no Hugging Face model type matches {type(model).__name__}")
    kind, differing, own = nearest
    what = differing[0]
    raise ValueError(
        f"no Hugging Face model type computes the same as this model: the nearest, {kind}, has {what} "
        f"{own.get(what)!r}, not {wanted.get(what)!r}"
    )


def _type_of_source(model: Stack) -> Any:
    path = Path(model.source) / "config.json"
    return read_object(path).get("model_type") if model.source and path.exists() else None


def _copied(source: str, staging: Path) -> list[str]:
    """Copy the files that accompany a network, such as its tokenizer; returns their names."""
    if source and not Path(source).is_dir():
        logger.warning("%s does not exist any more: its special tokens, labels and tokenizer are not written", source)
    found = [name for name in FILES if source and (Path(source) / name).is_file()]
    for name in found:
        (staging / name).write_bytes((Path(source) / name).read_bytes())
    return found


def _put(directory: Path, staging: Path, accompanying: list[str]) -> None:
    """Move the new files into place and delete the old weights with their index."""
    stale = {INDEX, *shards(directory), *(FILES if accompanying else ())} - {SINGLE, *accompanying}
    config, new, before = directory / "config.json", staging / "config.json", staging / "config.before"
    if config.exists() and config.read_bytes() != new.read_bytes():
        config.replace(before)
    try:
        (staging / SINGLE).replace(directory / SINGLE)
    except BaseException:
        if before.exists():
            before.replace(config)
        raise
    for name in accompanying:
        (staging / name).replace(directory / name)
    for name in stale:
        (directory / name).unlink(missing_ok=True)
    new.replace(config)
