"""RoPE in a config.json, in the keys of transformers 5 (`rope_parameters`) and 4, and back."""

import math
from typing import Any

from models.layers.positions import RopeScaling
from models.pretrained.config import Config

NUMBERS = {  # the numbers that each kind reads: required and optional
    "default": ((), ()),
    "linear": (("factor",), ()),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor"), ("original_max_position_embeddings",)),
    "yarn": (
        ("factor",),
        (
            *("original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"),
            *("mscale", "mscale_all_dim", "truncate"),
        ),
    ),
}


def rope(
    config: Config,
    context: int,
    *,
    theta: str = "rope_theta",
    fraction: str | None = None,
    default: dict[str, Any] | None = None,
    kinds: tuple[str, ...] = tuple(NUMBERS),
) -> dict[str, Any]:
    """RoPE fields for one of the kinds, called rope_type in transformers.

    `theta` and `fraction` are keys beside the others; without a key for the fraction, whole heads are rotated.
    `default` is used if no key is present.
    """
    parameters, scaling = config.take("rope_parameters"), config.take("rope_scaling")
    own = dict(scaling or (default if parameters is None else parameters) or {})
    name = "rope_scaling" if scaling else "rope_parameters"
    base = config.take(theta, positive=True)
    share = 1.0 if fraction is None else config.take(fraction, positive=True)
    if fraction is None and "partial_rotary_factor" in config.keys:
        share = config.take("partial_rotary_factor") or 1.0
    return parsed(config, name, own, context, base, share, fraction is not None, kinds)


def parsed(
    config: Config,
    name: str,
    own: dict[str, Any],
    context: int,
    theta: float,
    share: float,
    partial: bool = False,
    kinds: tuple[str, ...] = tuple(NUMBERS),
) -> dict[str, Any]:
    """RoPE fields from one object of a config and the keys beside it; only with `partial` may a fraction of each head
    be rotated."""

    def number(key: str, value: Any) -> Any:
        return value if config.is_a(f"{name}.{key}", value, "float") else None

    kind = own.pop("rope_type", own.pop("type", "default"))
    own.pop("type", None)
    if kind not in kinds:
        config.unsupported(f"{name}.rope_type", kind, kinds)
        return {"positions": "rotary"}
    theta = number("rope_theta", own.pop("rope_theta", theta)) or theta
    share = number("partial_rotary_factor", own.pop("partial_rotary_factor", share)) or share
    if not partial and share != 1:
        if kind != "default":
            config.unsupported("partial_rotary_factor", share, (1,))
        else:
            config.unread.append("partial_rotary_factor")
        share = 1.0
    needed, optional = NUMBERS[kind]
    missing = [key for key in needed if own.get(key) is None and not (kind == "yarn" and key in own)]
    if missing:
        config.problems.append(f"{name} of type {kind} lacks {' and '.join(missing)}")
    config.unread += [f"{name}.{key}" for key in own if key not in (*needed, *optional)]
    values = {
        key: own[key]
        for key in (*needed, *optional)
        if own.get(key) is not None and config.is_a(f"{name}.{key}", own[key], "bool" if key == "truncate" else "float")
    }
    made = None if missing or config.problems else _scaling(config, name, kind, values, context)
    return {"positions": "rotary", "rope_theta": float(theta), "rotary_fraction": float(share), "rope_scaling": made}


def _scaling(config: Config, name: str, kind: str, values: dict[str, Any], context: int) -> RopeScaling | None:
    original = values.get("original_max_position_embeddings") or context
    try:
        match kind:
            case "linear":
                return RopeScaling("linear", float(values["factor"]), original)
            case "llama3":
                factor, low, high = (float(values[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
                return RopeScaling("llama3", factor, original, low, high)
            case "yarn":
                return _yarn(values, original, context)
    except ValueError as error:
        config.problems.append(f"{name}: {error}")
    return None


def _yarn(values: dict[str, Any], original: int, context: int) -> RopeScaling:
    factor = float(values.get("factor") or context / original)
    magnitude, parts = values.get("attention_factor"), (values.get("mscale"), values.get("mscale_all_dim"))
    if magnitude is None and all(parts):
        over, under = (0.1 * float(part or 0) * math.log(factor) + 1 if factor > 1 else 1.0 for part in parts)
        magnitude = over / under
    slow, fast = float(values.get("beta_slow") or 1), float(values.get("beta_fast") or 32)
    return RopeScaling("yarn", factor, original, slow, fast, magnitude, values.get("truncate", True))


def rope_keys(model: Any, partial: bool = False) -> dict[str, Any]:
    """The inverse of `rope`, in the keys of transformers 5 and in those of 4."""
    scaling = scaling_keys(model.rope_scaling)
    both = {"rope_theta": model.rope_theta}
    both |= {"partial_rotary_factor": model.rotary_fraction} if partial else {}
    return {**both, "rope_scaling": scaling if model.rope_scaling else None, "rope_parameters": {**scaling, **both}}


def scaling_keys(scaling: RopeScaling | None) -> dict[str, Any]:
    """The kind of RoPE scaling and its numbers."""
    if scaling is None:
        return {"rope_type": "default"}
    keys: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        keys |= {"low_freq_factor": scaling.low_turns, "high_freq_factor": scaling.high_turns}
    if scaling.kind == "yarn":
        keys |= {"beta_slow": scaling.low_turns, "beta_fast": scaling.high_turns, "truncate": scaling.truncate}
        keys |= {} if scaling.magnitude is None else {"attention_factor": scaling.magnitude}
    if scaling.kind != "linear":
        keys |= {"original_max_position_embeddings": scaling.original_context}
    return keys
