"""Swaps the activation or norm of a trained network, keeping its weights."""

from typing import Any, get_args

import jax.numpy as jnp

from lab.files.choices import check_choice
from lab.surgery.centring import centred, centred_model
from models import activations
from models.activations import Activation
from models.layers.normalization import NormKind
from models.layers.stack import Stack
from models.model import with_activation


def swapped(
    model: Any,
    params: dict[str, Any],
    activation: str | Activation | None = None,
    norm: str | None = None,
    fold: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """A Transformer (model, params) with another activation in its feed-forward layers, another norm, or both.

    activation: pointwise to pointwise, or gated to gated, leaves the parameters unchanged. A plain layer becomes a
    gated one of the same width, whose gate is the old `up` and whose value is 1 (kernel 0 and bias 1). So GELU ->
    GEGLU, or any pointwise activation -> its gated unit, computes the same function. Feed-forward layers without biases
    get them, zero elsewhere. Learned parameters of the new activation have their initial values; its own gated unit
    keeps them. norm: scales and biases stay. An RMSNorm keeps the biases of the LayerNorm; a LayerNorm gets no new
    ones. fold: first fold the centring of LayerNorms into the weights, see `centred`, so that RMSNorms compute the
    same.

    Any other model keeps its parameters: its activation may become another that is gated if the old one is, and that
    has no learned parameters.

    Raises ValueError, in one sentence, for unknown names, for a gated activation -> a pointwise one, for a gated one
    that is not a product with its value, for a norm from or to "none", and for a fold that would not be exact.
    """
    other = swapped_model(model, activation, norm, fold)
    if not isinstance(model, Stack):
        _check_learned(model, other)
        return other, params
    if fold:
        model, params = centred(model, params)
    if activation is None:
        return other, params
    old, new = activations.activation(model.activation), activations.activation(other.activation)
    gating = new.gated and not old.gated
    keeps = new == old or (gating and new == activations.glu_of(old))

    def converted(layer: dict[str, Any]) -> dict[str, Any]:
        layer = _gated(layer) if gating else layer
        return layer if keeps else _relearned(layer, new)

    params = {
        name: {**tree, "feedforward": converted(tree["feedforward"])} if "layer" in name else tree
        for name, tree in params.items()
    }
    return other, params


def swapped_model(
    model: Any, activation: str | Activation | None = None, norm: str | None = None, fold: bool = False
) -> Any:
    """The model that `swapped` returns, with the same errors, without parameters."""
    if not isinstance(model, Stack):
        return _exchanged(model, activation, norm, fold)
    if fold and (model.norm, norm) != ("layernorm", "rmsnorm"):
        raise ValueError(f"fold is True, but norm is {model.norm!r} -> {norm!r}: it must be 'layernorm' -> 'rmsnorm'")
    if fold:
        model = centred_model(model)
    if norm is not None:
        model = _with_norm(model, norm)
    return model if activation is None else _with_activation(model, activations.activation(activation))


def norm_of(model: Any) -> str | None:
    """The norm of a model that can have another; None if it cannot."""
    return model.norm if isinstance(model, Stack) else None


def _exchanged(model: Any, activation: str | Activation | None, norm: str | None, fold: bool) -> Any:
    """A model of any kind with another activation, which is gated if the old one is."""
    if norm is not None or fold:
        raise ValueError(f"model is a {type(model).__name__}: only a Transformer's norm can be swapped")
    old = activations.activation(model.activation)
    new = old if activation is None else activations.activation(activation)
    if old.gated != new.gated:
        raise ValueError(
            f"activation {old.name!r} -> {new.name!r}: only in a Transformer can a pointwise one become a gated one, "
            f"and model is a {type(model).__name__}"
        )
    return with_activation(model, new)


def _check_learned(model: Any, other: Any) -> None:
    """Raises ValueError where the activation of the other model needs parameters that this one's has not learned."""
    old, new = (activations.activation(one.activation) for one in (model, other))
    if new != old and new.parameters:
        names = ", ".join(name for name, _ in new.parameters)
        raise ValueError(
            f"activation {old.name!r} -> {new.name!r}: it has learned parameters ({names}), which only a Transformer "
            f"can be given without training, and model is a {type(model).__name__}"
        )


def _with_norm(model: Stack, norm: str) -> Stack:
    """The model with another norm, which has the same parameters."""
    check_choice("norm", norm, get_args(NormKind))
    odd = [one for one in (norm, model.norm) if one not in ("layernorm", "rmsnorm")]
    if norm != model.norm and odd:
        lacking = "no parameters" if odd[0] == "none" else "parameters of its own"
        raise ValueError(
            f"norm {model.norm!r} -> {norm!r}: {odd[0]!r} has {lacking}; allowed values are layernorm, rmsnorm"
        )
    return model.clone(norm=norm, norm_bias=model.has_norm_bias)


def _with_activation(model: Stack, new: Activation) -> Stack:
    """The model with another activation; if it becomes gated, it keeps its width and its layers get biases."""
    old = activations.activation(model.activation)
    if old.gated and not new.gated:
        raise ValueError(
            f"activation {old.name!r} -> {new.name!r}: a gated one has two inputs, a pointwise one has one"
        )
    if old.gated == new.gated:
        return model.clone(activation=new)
    if not _is_product(new):
        raise ValueError(f"activation {old.name!r} -> {new.name!r}: no constant value makes this gated unit pointwise")
    return model.clone(activation=new, match="width", feedforward_bias=True)


def _is_product(gated: Activation) -> bool:
    """Whether a gated activation is a product with its value: twice the value returns twice the output."""
    gate, value = jnp.linspace(-4.0, 4.0, 9), jnp.ones(9)
    learned = {name: jnp.asarray(initial, jnp.float32) for name, initial in gated.parameters}
    return bool((gated(gate, 2 * value, **learned) == 2 * gated(gate, value, **learned)).all())


def _gated(layer: dict[str, Any]) -> dict[str, Any]:
    """A plain layer's parameters as those of a gated one: the gate is the old `up`, the value is 1."""
    kernel = layer["up"]["kernel"]
    zero = jnp.zeros_like(kernel[..., 0, :])
    return {
        **layer,
        "gate": {"bias": zero, **layer["up"]},
        "up": {"kernel": jnp.zeros_like(kernel), "bias": zero + 1},
        "down": {"bias": jnp.zeros_like(layer["down"]["kernel"][..., 0, :]), **layer["down"]},
    }


def _relearned(layer: dict[str, Any], new: Activation) -> dict[str, Any]:
    """A layer's parameters with initial values for the new activation; scanned layers have a leading axis."""
    layers = layer["up"]["kernel"].shape[:-2]
    initial = {f"activation_{name}": jnp.asarray(value, jnp.float32) for name, value in new.parameters}
    return {
        **{name: tree for name, tree in layer.items() if not name.startswith("activation_")},
        **{name: jnp.broadcast_to(value, (*layers, *value.shape)) for name, value in initial.items()},
    }
