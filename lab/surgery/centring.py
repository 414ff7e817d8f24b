"""Folds the centring of LayerNorm into the weights, so that the residual stream has mean zero."""

import re
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from models.layers.stack import Stack

EXACT: dict[str, tuple[Any, ...]] = {
    "norm": ("layernorm",),  # an RMSNorm depends on the mean
    "placement": ("pre",),  # otherwise the output of a norm, scaled and shifted, is part of the stream
    "embedding_norm": (False,),
    "final_norm": (None, True),  # otherwise the output layer reads the stream directly
    "qk_norm": (False,),
    "joint_qk_norm": (
        False,
    ),  # norms of attention heads and of the output head's dense layer do not normalize the stream
    "head_activation": (None,),
    "positions": ("learned", "rotary", "alibi", "relative", "none"),  # sinusoids have a mean and no parameters
}
EMBEDDINGS = r"(encoder_)?(position|type|patch)_embedding/\w+|(encoder_)?embedding_in/kernel|class_token"
OUTPUTS = r"(encoder_)?layers?(_\d+)?/((cross_)?attention/output|feedforward/down)/\w+"


def centred(model: Stack, params: dict[str, Any]) -> tuple[Stack, dict[str, Any]]:
    """An equivalent network whose residual stream has mean zero over d_model at every token.

    LayerNorm subtracts this mean, so it can be subtracted instead from everything that writes to the stream: the last
    axis of embeddings and of the layers' output kernels and biases (Jiang et al. 2023, arXiv:2305.14858). A tied output
    layer needs the original embedding, which becomes a separate kernel: `tied=False`.

    Raises ValueError, naming the field, for a model in which this is not exact.
    """
    other = centred_model(model)
    if getattr(other, "tied", False) != getattr(model, "tied", False):
        params = _untied(params)
    embedded = _embeds(model)
    writes = re.compile("|".join([EMBEDDINGS, OUTPUTS, *(["token_embedding/embedding"] if embedded else [])]))

    flat = flatten_dict(params, sep="/")
    means = {path: leaf.mean(axis=-1, keepdims=True) for path, leaf in flat.items() if writes.fullmatch(path)}
    return other, unflatten_dict(flat | {path: flat[path] - mean for path, mean in means.items()}, sep="/")


def centred_model(model: Stack) -> Stack:
    """The model that `centred` returns, with the same errors, without parameters."""
    for field, allowed in EXACT.items():
        if (value := getattr(model, field, allowed[0])) not in allowed:
            known = " or ".join(map(repr, allowed))
            raise ValueError(f"{field} is {value!r}, but the residual stream can be centred exactly only with {known}")
    return model.clone(tied=False) if getattr(model, "tied", False) and _embeds(model) else model


def _embeds(model: Stack) -> bool:
    """Whether the residual stream starts with the token embedding, without a projection."""
    return getattr(model, "embedding_dim", None) is None


def _untied(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the same network with a separate output layer."""
    head = {"kernel": params["token_embedding"]["embedding"].T}
    if "head_bias" in params:
        head["bias"] = params["head_bias"]
    others = {name: tree for name, tree in params.items() if name != "head_bias"}
    return {**others, "head": head}
