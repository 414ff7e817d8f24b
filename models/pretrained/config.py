"""A config.json read key by key, so that what is not understood is refused and not overlooked."""

import math
from typing import Any

from lab.files.choices import nearest
from models.activations import Activation, activation, glu_of
from models.layers.positions import RopeScaling

# Hugging Face's names of activations, the one that is written first.
ACTIVATIONS = {
    "gelu": ("gelu", "gelu_python"),
    "gelu_tanh": ("gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_python_tanh", "gelu_accurate"),
    "gelu_quick": ("quick_gelu",),
    "silu": ("silu", "swish"),
    "relu": ("relu",),
    "relu2": ("relu2",),
    "leaky_relu": ("leaky_relu",),
    "identity": ("linear",),
    "hard_swish": ("hardswish",),
    "mish": ("mish",),
    "sigmoid": ("sigmoid",),
    "tanh": ("tanh",),
    "prelu": ("prelu",),
    "xielu": ("xielu",),
}

# Of no influence on what a network computes from given weights, in any model type.
HARMLESS = {
    *("architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache", "auto_map"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "mask_token_id"),
    *("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "tokenizer_class", "prefix"),
    *(
        "initializer_range",
        "initializer_factor",
        "init_std",
        "attention_dropout",
        "hidden_dropout",
        "classifier_dropout",
    ),
    *(
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "dropout",
        "dropout_rate",
        "activation_dropout",
        "layerdrop",
    ),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "gradient_checkpointing", "pretraining_tp", "task_specific_params"),
    *(
        "problem_type",
        "finetuning_task",
        "id2label",
        "label2id",
        "num_labels",
        "return_dict",
        "return_dict_in_generate",
    ),
    *("output_attentions", "output_hidden_states", "output_scores", "output_past", "torchscript", "tf_legacy_loss"),
    *("use_bfloat16", "chunk_size_feed_forward", "tie_encoder_decoder", "is_encoder_decoder", "attn_implementation"),
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "remove_invalid_values"),
    *("exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "cache_implementation"),
}


class Config:
    """The keys of a config.json, each taken once by what it means; `finish` refuses those that nothing took."""

    def __init__(self, values: dict[str, Any], place: str):
        self.values = dict(values)
        self.place = place
        self.taken = set(HARMLESS)

    def take(self, *names: str, default: Any = None) -> Any:
        """The value under the first of these names that is there and not null; `default` if none is."""
        self.taken |= set(names)
        found = [self.values[name] for name in names if self.values.get(name) is not None]
        return found[0] if found else default

    def need(self, *names: str) -> Any:
        """As `take`. Raises ValueError if none is there."""
        value = self.take(*names)
        if value is None:
            raise ValueError(f"{self.place} lacks {names[0]}")
        return value

    def expect(self, name: str, *allowed: Any) -> None:
        """Raises ValueError if the value is there and none of the allowed ones."""
        value = self.take(name, default=allowed[0])
        if value not in allowed:
            raise self.unsupported(name, value, allowed)

    def ignore(self, *names: str) -> None:
        """These have no influence on what the network computes."""
        self.taken |= set(names)

    def activation(self, *names: str, default: str | None = None) -> Activation:
        """The activation under one of these names. Raises ValueError for one that is not known."""
        name = self.take(*names, default=default)
        return self.known_activation(names[0], name)

    def known_activation(self, key: str, name: str) -> Activation:
        """The activation that Hugging Face calls `name`. Raises ValueError for one that is not known."""
        known = {theirs: ours for ours, names in ACTIVATIONS.items() for theirs in names}
        if name not in known:
            raise self.unsupported(key, name, tuple(known))
        return activation(known[name])

    def finish(self, ignored: tuple[str, ...] = ()) -> None:
        """Raises ValueError if a key was not taken, is not harmless, and is neither null nor `ignored`."""
        for name, value in self.values.items():
            private = name.startswith("_") and name not in self.taken
            if not (private or name in self.taken or name in ignored or value is None):
                raise ValueError(
                    f"{self.place}: {name} is {value!r}, and what that does to the model is not known here; if it does "
                    f"nothing, say ignore=('{name}',)"
                )

    def unsupported(self, name: str, value: Any, allowed: tuple[Any, ...]) -> ValueError:
        """The error for a value that is not supported."""
        words = ", ".join(map(str, allowed))
        return ValueError(f"{self.place}: {name} is {value!r}, supported are {words}{nearest(value, allowed)}")

    def rope(self, context: int, theta: float = 10_000.0, fraction: float = 1.0) -> dict[str, Any]:
        """Fields of rotary positions, from `rope_parameters` (transformers 5) or `rope_scaling` (4)."""
        own = dict(self.take("rope_parameters", "rope_scaling", default={}))
        theta = own.pop("rope_theta", None) or self.take("rope_theta", "rotary_emb_base", default=theta)
        fraction = own.pop("partial_rotary_factor", None) or self.take(
            "partial_rotary_factor", "rotary_pct", default=fraction
        )
        self.ignore("rope_scaling", "rope_theta", "partial_rotary_factor", "rotary_pct", "rotary_emb_base")
        kind = own.pop("rope_type", None) or own.pop("type", "default")
        own.pop("type", None)
        return {
            "positions": "rotary",
            "rope_theta": float(theta),
            "rotary_fraction": float(fraction),
            "rope_scaling": self.rope_scaling(kind, own, context),
        }

    def rope_scaling(self, kind: str, own: dict[str, Any], context: int) -> RopeScaling | None:
        """What the rotary parameters but base and fraction say. Raises ValueError for what is not supported."""
        original = own.pop("original_max_position_embeddings", None) or context
        match kind:
            case "default":
                scaling = None
                own.pop("factor", None)
            case "linear":
                scaling = RopeScaling("linear", own.pop("factor"), original)
            case "llama3":
                turns = own.pop("low_freq_factor"), own.pop("high_freq_factor")
                scaling = RopeScaling("llama3", own.pop("factor"), original, *turns)
            case "yarn":
                scaling = _yarn(own, original, context)
            case _:
                raise self.unsupported("rope_type", kind, ("default", "linear", "llama3", "yarn"))
        for name, value in own.items():
            if value is not None:
                raise ValueError(
                    f"{self.place}: {name} is {value!r} among the rotary parameters, which is not supported"
                )
        return scaling


def _yarn(own: dict[str, Any], original: int, context: int) -> RopeScaling:
    factor = own.pop("factor", None) or context / original
    magnitude, parts = own.pop("attention_factor", None), (own.pop("mscale", None), own.pop("mscale_all_dim", None))
    if magnitude is None and all(parts):
        over, under = (0.1 * part * math.log(factor) + 1 if factor > 1 else 1.0 for part in parts)
        magnitude = over / under
    fast, slow = float(own.pop("beta_fast", None) or 32), float(own.pop("beta_slow", None) or 1)
    return RopeScaling("yarn", factor, original, slow, fast, magnitude, own.pop("truncate", True))


def rope_keys(model: Any) -> dict[str, Any]:
    """The inverse of `Config.rope`, in the keys of transformers 5 and in those of 4."""
    rope: dict[str, Any] = {"rope_type": "default"}
    if (scaling := model.rope_scaling) is not None:
        rope = {"rope_type": scaling.kind, "factor": scaling.factor}
        if scaling.kind == "llama3":
            rope |= {"low_freq_factor": scaling.low_turns, "high_freq_factor": scaling.high_turns}
        if scaling.kind == "yarn":
            rope |= {"beta_slow": scaling.low_turns, "beta_fast": scaling.high_turns, "truncate": scaling.truncate}
            rope |= {} if scaling.magnitude is None else {"attention_factor": scaling.magnitude}
        if scaling.kind != "linear":
            rope |= {"original_max_position_embeddings": scaling.original_context}
    both = {"rope_theta": model.rope_theta, "partial_rotary_factor": model.rotary_fraction}
    return {**both, "rope_scaling": None if scaling is None else rope, "rope_parameters": {**rope, **both}}


def activation_name(value: str | Activation) -> str:
    """Hugging Face's name of a pointwise activation, of a gated one that of its gate; an unknown one's own name."""
    name = activation(value).name
    for ours, names in ACTIVATIONS.items():
        if name in (ours, glu_of(ours).name):
            return names[0]
    return name
