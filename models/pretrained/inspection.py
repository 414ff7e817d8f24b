"""Describes a Hugging Face folder from its config and tensor headers, without reading any weights."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.pretrained.folder import described
from models.pretrained.parameters import matched, shapes
from models.pretrained.tensors import INDEX, SINGLE, Tensors

GELUS = {"gelu": "erf", "geglu": "erf", "gelu_tanh": "tanh", "gelu_quick": "quick"}
SIZES = (
    *("d_model", "n_layers", "n_encoder_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff"),
    *("vocab_size", "context", "windows", "image_size", "patch_size", "classes"),
)


@dataclass(frozen=True)
class Inspection:
    """A description of a network.

    family: its model type. architecture: decoder, encoder, encoder-decoder or vision.
    activation: that of the feed-forward layers, by its name here; gelu: for a GELU its form, erf, tanh or quick.
    norm: layernorm or rmsnorm, with norm_epsilon and its placement in a block.
    positions: the position encoding; rope_theta, if it is rotary.
    parameters: their number; tied: whether the output layer is the embedding, which is then counted once.
    """

    family: str
    architecture: str
    sizes: dict[str, Any]
    activation: str
    gelu: str | None
    norm: str
    norm_epsilon: float
    placement: str
    positions: str
    rope_theta: float | None
    parameters: int
    tied: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def inspect(directory: str | Path, ignore: tuple[str, ...] = ()) -> Inspection:
    """Describe the network of a Hugging Face folder; if there are no tensors, by its config alone.

    Raises FileNotFoundError if there is no config.json, and ValueError as `models.pretrained.load` does.
    """
    directory = Path(directory)
    form, found = described(directory, ignore)
    model: Any = found
    if (directory / SINGLE).exists() or (directory / INDEX).exists():
        model, _ = matched(form, model, Tensors(directory))
    sizes = {name: value for name in SIZES if (value := _size(model, name))}
    return Inspection(
        family=form.model_type,
        architecture=_architecture(model),
        sizes=sizes,
        activation=model.activation.name,
        gelu=_gelu(model.activation.name),
        norm=model.norm,
        norm_epsilon=model.norm_epsilon,
        placement=model.placement,
        positions=model.positions,
        rope_theta=model.rope_theta if model.positions == "rotary" else None,
        parameters=sum(map(math.prod, shapes(model).values())),
        tied=getattr(model, "tied", False),
    )


def _size(model: Any, name: str) -> Any:
    own = {"n_kv_heads": model.n_kv_heads or model.n_heads, "head_dim": model.width, "d_ff": model.hidden_width}
    return own[name] if name in own else getattr(model, name, None)


def _architecture(model: Any) -> str:
    if hasattr(model, "image_size"):
        return "vision"
    return "encoder-decoder" if hasattr(model, "n_encoder_layers") else model.architecture


def _gelu(activation: str) -> str | None:
    return GELUS.get(activation) or GELUS.get(activation.removesuffix("_glu"))
