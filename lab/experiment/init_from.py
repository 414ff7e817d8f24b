"""Starting from trained weights: the network that runs are initialised from, and its parameters for each arm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lab.files.atomic import read_json
from lab.files.checksums import of_file
from lab.surgery.centring import centred
from lab.surgery.swap import norm_of, swapped, swapped_model

LEARNED = "activation_"
"""Before the name of what an activation learns, in the parameters of its layer."""


@dataclass(frozen=True)
class InitFrom:
    """The trained network that every run of an experiment begins with.

    Of a folder of ours a run begins with the network of its own seed; a Hugging Face folder has one for all. Where an
    arm has another activation or norm than the network, that is swapped, see `lab.surgery.swap`, and the weights stay.
    """

    weights: str
    """What they are: the name of our cell, or the SHA-256 of a Hugging Face folder's tensors."""
    directory: str = field(default="", compare=False)
    """Where they are: the folder of the cell, or the Hugging Face folder; relative to the folder of the results."""
    fold: bool = False
    """The centring of LayerNorms is folded into the weights first, see `lab.surgery.centring`."""
    ignore: tuple[str, ...] = field(default=(), metadata={"since": "0.2.0"})
    """Keys of a Hugging Face config that count as absent."""


def locate(directory: str | Path, fold: bool = False, ignore: tuple[str, ...] = ()) -> InitFrom:
    """The start at a folder: a cell of ours (cell.json), or a Hugging Face folder (config.json, safetensors).

    Raises FileNotFoundError for a folder that is neither.
    """
    directory = Path(directory).resolve()
    if (directory / "cell.json").exists():
        return InitFrom(read_json(directory / "cell.json")["cell"], str(directory), fold)
    files = sorted(directory.glob("*.safetensors"))
    if not (directory / "config.json").exists() or not files:
        cells = sorted(path.parent.name for path in directory.glob("cells/*/cell.json"))
        hint = f"; its cells are in {directory / 'cells'}: {', '.join(cells)}" if cells else ""
        raise FileNotFoundError(
            f"{directory} is no trained network: neither a cell of ours (cell.json) nor a Hugging Face folder "
            f"(config.json with safetensors){hint}"
        )
    return InitFrom("-".join(of_file(file) for file in files), str(directory), fold, tuple(ignore))


def initial_parameters(
    start: InitFrom, model: Any, params: Mapping[str, Any], target: Any, drawn: Mapping[str, Any]
) -> dict[str, Any]:
    """The initial parameters of a run of the model `target`: those of a trained (model, params), swapped.

    `drawn` are those it would begin with otherwise, arrays or their shapes. They stay where the network has none: in a
    head of another shape, as learned parameters of another activation, and as biases, which are drawn as 0. Raises
    ValueError, in one sentence, where the swap is not defined and where any other parameter is missing or has another
    shape.
    """
    if start.fold:
        model, params = centred(model, dict(params))
    params = _exchanged(model, dict(params), target)
    own, found = flatten_dict(dict(params), sep="/"), {}
    for path, leaf in flatten_dict(dict(drawn), sep="/").items():
        given = own.get(path)
        if given is not None and given.shape == leaf.shape:
            found[path] = np.asarray(given, leaf.dtype)
        elif path.startswith("head") or (given is None and _is_drawn(path)):
            found[path] = leaf
        else:
            has = f"has the shape {given.shape} there" if given is not None else "lacks it"
            raise ValueError(f"the model's {path} has the shape {leaf.shape}, and the network of {start.weights} {has}")
    return unflatten_dict(found, sep="/")


def _exchanged(model: Any, params: dict[str, Any], target: Any) -> dict[str, Any]:
    """The parameters of a network as the model `target` takes them; what another activation learned is left out."""
    if norm_of(model) is not None:
        return swapped(model, params, target.activation, norm_of(target))[1]
    if swapped_model(model, target.activation).activation == model.activation:
        return params
    leaves = flatten_dict(params)
    return unflatten_dict({path: leaf for path, leaf in leaves.items() if not path[-1].startswith(LEARNED)})


def _is_drawn(path: str) -> bool:
    """Whether a network may lack a parameter: a bias, or what an activation learns."""
    return path.endswith("/bias") or path.rpartition("/")[2].startswith(LEARNED)
