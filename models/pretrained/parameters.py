"""Maps the tensors of a folder to the parameters of a model; none may be missing or left over."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from models.pretrained.format import Format
from models.pretrained.tensors import TRANSPOSED, Tensor, Tensors, read_object


def matched(form: Format, model: Any, tensors: Tensors) -> tuple[Any, dict[str, str]]:
    """The model, untied if the file has a separate output layer, and the name in the file of each of its tensors.

    Raises ValueError for a tensor that is missing, unexpected or of the wrong shape.
    """
    if getattr(model, "tied", False) and _has_own_head(form, tensors):
        model = model.clone(tied=False)
    return model, _places(form, model, list(all_tensors(form, model)), tensors, _other_class(form, tensors.directory))


def read_parameters(form: Format, model: Any, tensors: Tensors, found: dict[str, str]) -> dict[str, Any]:
    """The parameters of a matched model, in float32. Raises ValueError for a constant that is not supported."""
    rules = list(all_tensors(form, model))
    flat = {}
    for rule in (rule for rule in rules if rule.name in found):
        name = found[rule.name]
        try:
            parts = rule.layout.read(tensors[name])
        except ValueError as error:
            raise ValueError(f"{tensors.directory}: the tensor {name} {error}") from None
        flat.update({path: jnp.asarray(part) for path, part in zip(rule.paths, parts, strict=True)})
    return unflatten_dict(flat, sep="/")


def _has_own_head(form: Format, tensors: Tensors) -> bool:
    """Whether the file has an output layer that differs from the embedding."""
    if form.head not in tensors:
        return False
    embedding = _found(form.embedding, form, tensors)
    return embedding is None or not np.array_equal(tensors[form.head], tensors[embedding])


def _other_class(form: Format, directory: Path) -> str:
    """The end of an error on tensors that do not fit, if the config names another class."""
    named = read_object(directory / "config.json").get("architectures")
    if not isinstance(named, list) or not named or form.architecture in named:
        return ""
    return f"; the folder contains a {named[0]}, but it must be a {form.architecture}"


def all_tensors(form: Format, model: Any) -> Iterator[Tensor]:
    """All tensors of the model, including its output layer."""
    yield from form.tensors(model)
    if form.head and not model.tied:
        yield Tensor(form.head, ("head/kernel",), TRANSPOSED)


def shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of the model's parameters, which are not created."""
    variables = jax.eval_shape(model.init, jax.random.key(0), *example(model))
    return {path: leaf.shape for path, leaf in flatten_dict(variables["params"], sep="/").items()}


def example(model: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shapes of a minimal input of the model."""
    if hasattr(model, "image_size"):
        return (jax.ShapeDtypeStruct((1, *model.image_size, model.channels), jnp.float32),)
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return (tokens, tokens) if hasattr(model, "n_encoder_layers") else (tokens,)


def _places(form: Format, model: Any, rules: list[Tensor], tensors: Tensors, note: str) -> dict[str, str]:
    """The names of the tensors in the file. Raises ValueError for a missing, extra or misshapen one."""
    names = {rule.name: _found(rule.name, form, tensors) for rule in rules}
    if missing := [rule.name for rule in rules if names[rule.name] is None and rule.paths]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"{tensors.directory} lacks the tensor {missing[0]}{more}, which its config requires"
            f"{_elsewhere(missing[0], tensors)}{note}"
        )
    found = {name: place for name, place in names.items() if place is not None}
    expected = shapes(model)
    for rule in (rule for rule in rules if rule.name in found):
        ours = [jax.ShapeDtypeStruct(expected[path], jnp.float32) for path in rule.paths]
        shape, name = jax.eval_shape(rule.layout.write, *ours).shape, found[rule.name]
        if tensors.shape(name) != shape:
            raise ValueError(
                f"{tensors.directory}: the tensor {name} has shape {list(tensors.shape(name))}, "
                f"but its config requires {list(shape)}"
            )
    _check_extra(form, set(found.values()), tensors, note)
    return found


def _elsewhere(name: str, tensors: Tensors) -> str:
    """A hint at a tensor whose name differs, for example because the network was wrapped."""
    near = next((each for each in tensors if each.endswith(f".{name}")), None)
    return f"; it has {near}" if near else ""


def _found(name: str, form: Format, tensors: Tensors) -> str | None:
    """The name of a tensor in the file: with or without the prefix; norms also by their names of 2018."""
    names = [*dict(form.instead).get(name, ()), name, name.removeprefix(form.prefix)]
    names += [re.sub(r"weight$", "gamma", re.sub(r"bias$", "beta", each)) for each in names]
    return next((each for each in names if each in tensors), None)


def _check_extra(form: Format, used: set[str], tensors: Tensors, note: str) -> None:
    """Raises ValueError for an unused tensor, unless it is ignored or a copy of another one."""
    copies = dict(form.copies) | {form.head: form.embedding}
    for name in tensors:
        if name in used or any(re.fullmatch(pattern, name) for pattern in form.ignored):
            continue
        original = _found(copies[name], form, tensors) if copies.get(name) else None
        if original is None:
            raise ValueError(f"{tensors.directory}: its config does not require the tensor {name}{note}")
        if not np.array_equal(tensors[name], tensors[original]):
            raise ValueError(f"{tensors.directory}: the tensor {name} differs from {original}, which it should repeat")
