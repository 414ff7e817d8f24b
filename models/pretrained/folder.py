"""A Hugging Face folder, config.json and safetensors, as a model and its parameters, and back."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from models.layers.stack import Stack, stacked, unstacked
from models.pretrained.config import Config
from models.pretrained.format import Format, function
from models.pretrained.formats import apertus, bert, bloom, gemma, gpt2, gpt_neox, llama, nemotron, opt, t5, vit
from models.pretrained.tensors import SINGLE, TRANSPOSED, Tensor, Tensors, read_json

FORMATS = {
    form.model_type: form
    for form in (
        *(gpt2.FORMAT, bert.FORMAT, bloom.FORMAT, opt.FORMAT, llama.FORMAT, gpt_neox.FORMAT, t5.FORMAT),
        *(gemma.FORMAT, gemma.FORMAT_2, nemotron.FORMAT, apertus.FORMAT, vit.FORMAT),
    )
}


def load(directory: str | Path, *, ignore: tuple[str, ...] = (), **fields: Any) -> tuple[Stack, dict[str, Any]]:
    """The model of a Hugging Face folder and its parameters in float32, read tensor by tensor.

    `fields` are the model's own that do not change its parameters, such as `scan=True`, `dtype="bfloat16"` or another
    `activation`; `ignore` names keys of the config that are known to do nothing. Dropout is 0 whatever the config says.
    Where the file has an output layer of its own, it is used also if the config says that it is the embedding.

    Raises FileNotFoundError if a file is missing and ValueError, in one sentence that names it, for an unknown model
    type, activation or key of the config, and for a tensor that is missing, too many, of another shape or damaged.
    """
    directory = Path(directory)
    values = read_json(directory / "config.json")
    form = _format(values, directory)
    config = Config(values, str(directory / "config.json"))
    for key, value in (("add_cross_attention", False), ("is_causal", True), ("pruned_heads", {})):
        config.expect(key, value)
    config.expect("quantization_config", None)
    model = form.model(config)
    config.ignore("is_decoder")  # of no influence where the type does not say otherwise
    config.finish(ignore)
    tensors = Tensors(directory)
    if getattr(model, "tied", False) and _own_head(form, tensors):
        model = model.clone(tied=False)
    params = _parameters(form, model, tensors)
    model = model.clone(**fields)
    model.check()
    return model, stacked(params) if model.scan else params


def save(directory: str | Path, model: Stack, params: dict[str, Any]) -> None:
    """Write a folder that `load` and transformers read, of the model type whose config says what the model computes.

    Nothing is left half-written. Raises ValueError, naming what differs from the nearest type, if there is none.
    """
    form, values = _written(model)
    flat = flatten_dict(unstacked(params) if model.scan else params, sep="/")
    rules = list(_rules(form, model))
    tensors = {
        rule.name: np.array(rule.layout.write(*(flat[path] for path in rule.paths)), np.float32, order="C")
        for rule in rules
    }
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _replace(directory / SINGLE, lambda path: save_file(tensors, path, {"format": "pt"}))
    config = {"architectures": [form.architecture], "model_type": form.model_type, "torch_dtype": "float32", **values}
    _replace(directory / "config.json", lambda path: path.write_text(json.dumps(config, indent=2) + "\n"))


def _format(values: dict[str, Any], directory: Path) -> Format:
    kind = values.get("model_type")
    if kind not in FORMATS:
        raise ValueError(f"{directory / 'config.json'}: model_type is {kind!r}, supported are {', '.join(FORMATS)}")
    return FORMATS[kind]


def _own_head(form: Format, tensors: Tensors) -> bool:
    """Whether the file has an output layer that differs from the embedding."""
    if form.head not in tensors:
        return False
    embedding = _found(form.embedding, form, tensors)
    return embedding is None or not np.array_equal(tensors[form.head], tensors[embedding])


def _rules(form: Format, model: Any) -> Iterator[Tensor]:
    """All tensors of the model, its output layer with them."""
    yield from form.tensors(model)
    if form.head and not model.tied:
        yield Tensor(form.head, ("head/kernel",), TRANSPOSED)


def _parameters(form: Format, model: Any, tensors: Tensors) -> dict[str, Any]:
    """Every tensor checked before the first is read."""
    rules = list(_rules(form, model))
    found = _places(form, model, rules, tensors)
    flat = {}
    for rule in (rule for rule in rules if rule.name in found):
        name = found[rule.name]
        try:
            parts = rule.layout.read(tensors[name])
        except ValueError as error:
            raise ValueError(f"{tensors.directory}: the tensor {name} {error}") from None
        flat.update({path: jnp.asarray(part) for path, part in zip(rule.paths, parts, strict=True)})
    return unflatten_dict(flat, sep="/")


def _places(form: Format, model: Any, rules: list[Tensor], tensors: Tensors) -> dict[str, str]:
    """The names under which the file has the tensors. Raises ValueError for a missing, extra or misshapen one."""
    expected = _shapes(model)
    found: dict[str, str] = {}
    for rule in rules:
        name = _found(rule.name, form, tensors)
        if name is None and rule.paths:
            raise ValueError(f"{tensors.directory} lacks the tensor {rule.name}, which its config asks for")
        if name is None:
            continue
        shapes = [jax.ShapeDtypeStruct(expected[path], jnp.float32) for path in rule.paths]
        shape = jax.eval_shape(rule.layout.write, *shapes).shape
        if tensors.shape(name) != shape:
            raise ValueError(
                f"{tensors.directory}: the tensor {name} has shape {list(tensors.shape(name))}, "
                f"and its config asks for {list(shape)}"
            )
        found[rule.name] = name
    _check_extra(form, set(found.values()), tensors)
    return found


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of the model's parameters, nothing of which is made."""
    variables = jax.eval_shape(model.init, jax.random.key(0), *example(model))
    return {path: leaf.shape for path, leaf in flatten_dict(variables["params"], sep="/").items()}


def example(model: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shapes of a smallest input of the model."""
    if hasattr(model, "image_size"):
        return (jax.ShapeDtypeStruct((1, *model.image_size, model.channels), jnp.float32),)
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return (tokens, tokens) if hasattr(model, "n_encoder_layers") else (tokens,)


def _found(name: str, form: Format, tensors: Tensors) -> str | None:
    """The name under which a file has a tensor: with or without the prefix, a norm's also in the words of 2018."""
    names = [*dict(form.instead).get(name, ()), name, name.removeprefix(form.prefix)]
    names += [re.sub(r"weight$", "gamma", re.sub(r"bias$", "beta", each)) for each in names]
    return next((each for each in names if each in tensors), None)


def _check_extra(form: Format, used: set[str], tensors: Tensors) -> None:
    """Raises ValueError for a tensor that nothing uses, unless it is of no use here or the copy of another."""
    copies = dict(form.copies) | {form.head: form.embedding}
    for name in tensors:
        if name in used or any(re.fullmatch(pattern, name) for pattern in form.ignored):
            continue
        original = _found(copies[name], form, tensors) if copies.get(name) else None
        if original is None:
            raise ValueError(f"{tensors.directory}: the tensor {name} is not one that its config asks for")
        if not np.array_equal(tensors[name], tensors[original]):
            raise ValueError(f"{tensors.directory}: the tensor {name} differs from {original}, which it should repeat")


def _written(model: Any) -> tuple[Format, dict[str, Any]]:
    """The model type that says what the model computes, and its config."""
    wanted, nearest = function(model), None
    for form in FORMATS.values():
        try:
            values = form.config(model)
            own = function(form.model(Config(values, form.model_type)))
        except (AttributeError, ValueError, TypeError):
            continue  # fields that the type does not have, or values that it does not take
        differing = [name for name in wanted if name in own and own[name] != wanted[name]]
        differing += sorted(wanted.keys() ^ own.keys())
        if not differing:
            return form, values
        if nearest is None or len(differing) < len(nearest[1]):
            nearest = (form.model_type, differing, own)
    if nearest is None:
        raise ValueError(f"no Hugging Face model type is this {type(model).__name__}")
    kind, differing, own = nearest
    what = differing[0]
    raise ValueError(
        f"no Hugging Face model type computes what this model does: the nearest, {kind}, has {what} "
        f"{own.get(what)!r} and not {wanted.get(what)!r}"
    )


def _replace(path: Path, write: Any) -> None:
    """Write a file beside its place and put it there once it is whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
