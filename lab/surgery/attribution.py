"""Attributes drift to two changes: the norm, the activation, and their interaction."""

from collections.abc import Mapping
from typing import Any

from lab.probes.drift import drift
from lab.surgery.swap import swapped
from models.activations import Activation

FOLDED = ", centring folded"


def changes(
    model: Any, activation: str | Activation | None = None, norm: str | None = None
) -> dict[str, dict[str, Any]]:
    """The changes to examine one by one: name -> arguments of `swapped`.

    They are "norm" alone, "activation" alone and "both", as far as requested; if a LayerNorm becomes an RMSNorm, those
    with the norm are repeated with the centring folded into the weights.
    """
    asked: dict[str, dict[str, Any]] = {}
    if norm is not None:
        asked["norm"] = {"norm": norm}
    if activation is not None:
        asked["activation"] = {"activation": activation}
    if norm is not None and activation is not None:
        asked["both"] = {"activation": activation, "norm": norm}
    if (model.norm, norm) != ("layernorm", "rmsnorm"):
        return asked
    return asked | {f"{name}{FOLDED}": {**one, "fold": True} for name, one in asked.items() if "norm" in one}


def attribution(
    task: Any,
    model: Any,
    params: dict[str, Any],
    changes: Mapping[str, Mapping[str, Any]],
    batches: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The effect of each change on a network before any training, on a task's evaluation batches (see `drift`), as rows
    of `change`, `measure` and `value`; rows of layers also have `stack` and `layer`.

    Measures of the whole network are `kl`, `agreement`, `loss` of the changed network, and `loss_difference`, its
    increase over the original network. Raises what `swapped` and `drift` raise.
    """
    rows: list[dict[str, Any]] = []
    others = [swapped(model, params, **asked) for asked in changes.values()]
    for change, found in zip(changes, drift(task, model, params, others, batches), strict=True):
        whole = {"kl": found.kl, "agreement": found.agreement, "loss": found.other_loss}
        whole["loss_difference"] = found.other_loss - found.loss
        rows += [{"change": change, "measure": measure, "value": value} for measure, value in whole.items()]
        for layer in found.layers:
            place = {"change": change, "stack": layer["stack"], "layer": layer["layer"]}
            rows += [{**place, "measure": name, "value": layer[name]} for name in layer if name not in place]
    return rows
