"""Writes models/pretrained/reference.json: the keys that transformers reads in the config of every model type here,
with their JSON types and defaults.

    PYTHONPATH=. python tests/make_reference.py     (needs torch and transformers: pip install -e '.[parity]')

A key counts as read if it is a field of the config class or another name of one, if the class takes it from what else
it is given, or if the model's code, or the code that all models share, asks the config for it.
"""

import dataclasses
import importlib
import inspect
import json
import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.modeling_rope_utils import RotaryEmbeddingConfigMixin

from models.pretrained.registry import FORMATS

SHARED = {"quantization_config", "per_layer_config", "is_causal"}
"""Keys of which the code that all models share asks every config (masking_utils, modeling_utils)."""
OTHERS = {
    **dict.fromkeys(("head_dim", "n_embed", "sliding_window_pattern"), "int|null"),
    **dict.fromkeys(("is_gated_act", "scale_decoder_outputs", "tie_word_embeddings"), "bool|null"),
    **dict.fromkeys(("rope_theta", "rope_local_base_freq", "partial_rotary_factor"), "float|int|null"),
    **{"rope_scaling": "dict|null", "dense_act_fn": "str|null", "is_causal": "bool|null"},
}
"""The JSON types of keys that are no fields; of the rest nothing but null is supported."""
NEVER_NULL = {"layer_norm_eps", "layer_norm_epsilon", "activation"}
"""Fields whose annotation allows null, with which there is no network."""
ROPE = {"rope_scaling", "rope_theta", "partial_rotary_factor"}
KINDS = {int: "int", float: "float", bool: "bool", str: "str", list: "list", tuple: "list", dict: "dict"}


def kinds(hint: Any) -> set[str]:
    """The JSON types of an annotation."""
    if hint is type(None):
        return {"null"}
    if typing.get_origin(hint) is typing.Literal:
        return {"str"}
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return set().union(*map(kinds, typing.get_args(hint)))
    if typing.is_typeddict(hint):
        return {"dict"}
    return {KINDS[typing.get_origin(hint) or hint]} if (typing.get_origin(hint) or hint) in KINDS else {"any"}


def taken(config: type) -> set[str]:
    """The keys that a config class takes beside its fields, and those of which its model's code asks the config."""
    module = inspect.getmodule(config)
    configuration = inspect.getsource(module)
    found = set(re.findall(r"kwargs\.(?:pop|get|setdefault)\(\s*\"(\w+)\"", configuration))
    modeling = importlib.import_module(module.__name__.replace("configuration_", "modeling_"))
    source = inspect.getsource(modeling)
    asked = set(re.findall(r"\bconfig\.(\w+)", source)) | set(re.findall(r"getattr\([\w.]*config, \"(\w+)\"", source))
    found |= {name for name in asked if not hasattr(transformers.PreTrainedConfig, name)}
    own = config.convert_rope_params_to_dict is not RotaryEmbeddingConfigMixin.convert_rope_params_to_dict
    if "rope_parameters" in {field.name for field in dataclasses.fields(config)}:
        found |= {"rope_scaling"} if own else ROPE
    return found - {"_attn_implementation", "_experts_implementation"}


def default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def reference(kind: str) -> dict[str, Any]:
    """The keys that the config class of a model type reads, each with its JSON types and default; and other names."""
    config = transformers.models.auto.configuration_auto.CONFIG_MAPPING[kind]
    hints = typing.get_type_hints(config, localns={"torch": torch})
    keys = {}
    for field in fields(config):
        allowed = kinds(hints[field.name]) - ({"null"} if field.name in NEVER_NULL else set())
        keys[field.name] = ["|".join(sorted(allowed)), default(field)]
    for name in sorted((taken(config) | SHARED) - keys.keys() - config.attribute_map.keys()):
        keys[name] = [OTHERS.get(name, "any"), None]
    made = config()
    rope = getattr(made, "rope_parameters", None) or {}
    for name, values in (("rope_theta", rope), ("partial_rotary_factor", rope)):
        if name in keys and name in values:
            keys[name] = ["float|int", values[name]]
    names = {"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"}
    keys |= {name: ["float|int", rope[other]] for name, other in names.items() if name in keys and other in rope}
    return {"keys": keys, "aliases": dict(config.attribute_map)}


def fields(config: type) -> list[dataclasses.Field]:
    return sorted(dataclasses.fields(config), key=lambda field: field.name)


def main() -> int:
    table = {"transformers": transformers.__version__, **{kind: reference(kind) for kind in FORMATS}}
    write(Path(__file__).parent.parent / "models" / "pretrained" / "reference.json", table)
    return 0


def write(path: Path, table: dict[str, Any]) -> None:
    """JSON with a line for each key."""
    text = json.dumps(table, indent=1, sort_keys=True)
    text = re.sub(r"\[\n\s+(\"[\w|]+\"),\n\s+([^\n\[\]{}]+)\n\s+\]", r"[\1, \2]", text)
    path.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
