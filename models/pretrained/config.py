"""Reads a config.json key by key as transformers does: with its keys, types and defaults.

`reference.json`, which tests/make_reference.py creates from the config classes of transformers, lists every key that
they read. Other keys cannot change what the network computes there, and are ignored here.
"""

import json
import math
from pathlib import Path
from typing import Any

from lab.files.choices import nearest
from models.activations import Activation, activation
from models.pretrained.names import ACTIVATIONS

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text(encoding="utf-8"))

# Read by transformers, but without influence on what a network computes from given weights, for any model type.
HARMLESS = {
    *("architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache", "auto_map"),
    *("_name_or_path", "_commit_hash", "name_or_path", "attn_implementation", "_attn_implementation"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "mask_token_id"),
    *("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "tokenizer_class", "prefix"),
    *("initializer_range", "initializer_factor", "init_std", "classifier_dropout", "summary_last_dropout"),
    *("attention_dropout", "hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout"),
    *("dropout_rate", "activation_dropout", "layerdrop", "resid_pdrop", "embd_pdrop", "attn_pdrop", "qa_dropout"),
    *("seq_classif_dropout", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
    *("summary_first_dropout", "gradient_checkpointing", "pretraining_tp", "task_specific_params", "problem_type"),
    *("finetuning_task", "id2label", "label2id", "num_labels", "return_dict", "return_dict_in_generate"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_past", "torchscript"),
    *("tie_last_hidden_states", "chunk_size_feed_forward", "is_encoder_decoder", "slow_but_exact"),
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "remove_invalid_values"),
    *("exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "cache_implementation"),
}

KINDS = {
    "int": ("an integer", lambda x: isinstance(x, int) and not isinstance(x, bool)),
    "float": ("a number", lambda x: isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)),
    "bool": ("true or false", lambda x: isinstance(x, bool)),
    "str": ("a string", lambda x: isinstance(x, str)),
    "list": ("a list", lambda x: isinstance(x, list | tuple)),
    "dict": ("an object", lambda x: isinstance(x, dict)),
    "null": ("null", lambda x: x is None),
    "any": ("any value", lambda x: True),
}


class Config:
    """The config.json of a model type; each key is taken once.

    Errors are collected in `problems`, and a default is used instead, so that `finish` reports all of them at once.
    """

    def __init__(self, values: dict[str, Any], place: str, model_type: str):
        self.values = dict(values)
        self.place = place
        self.keys: dict[str, tuple[str, Any]] = REFERENCE[model_type]["keys"]
        self.aliases: dict[str, str] = REFERENCE[model_type]["aliases"]
        self.taken = set(HARMLESS)
        self.problems: list[str] = []
        self.unread: list[str] = []
        """Keys that transformers does not read."""

    def take(self, name: str, *, positive: bool = False) -> Any:
        """The value of a key that transformers reads, under this name or an alias; its default if it is absent."""
        names = [name, *(other for other, own in self.aliases.items() if own == name)]
        self.taken |= set(names)
        kinds, default = self.keys[name]
        given = {each: self.values[each] for each in names if each in self.values}
        for each, value in given.items():
            if not self.is_a(each, value, kinds):
                return default
            if positive and value is not None and not value > 0:
                self.problems.append(f"{each} is {value!r}: it must be positive")
                return default
        if len(set(map(repr, given.values()))) > 1:
            self.problems.append(" but ".join(f"{each} is {value!r}" for each, value in given.items()))
        return next(iter(given.values()), default)

    def is_a(self, name: str, value: Any, kinds: str) -> bool:
        """Whether the value has one of the JSON types, such as "int|null"; a problem if not."""
        allowed = [KINDS[kind] for kind in kinds.split("|") if not (kind == "int" and "float" in kinds)]
        if any(holds(value) for _, holds in allowed):
            return True
        self.problems.append(f"{name} is {value!r}: it must be {' or '.join(word for word, _ in allowed)}")
        return False

    def beside(self, name: str, kinds: str, default: Any) -> Any:
        """The value of a key that transformers does not read directly; the default if it is absent."""
        self.taken.add(name)
        value = self.values.get(name, default)
        return value if self.is_a(name, value, kinds) else default

    def expect(self, name: str, *allowed: Any) -> None:
        """A problem if the value of the key is not one of those allowed; null counts as absent."""
        value = self.take(name)
        if value is not None and value not in allowed:
            self.unsupported(name, value, allowed)

    def repeat(self, name: str, value: Any) -> None:
        """A problem if a redundant key is present and contradicts the other keys."""
        self.taken.add(name)
        if (given := self.values.get(name)) not in (None, value):
            self.problems.append(f"{name} is {given!r}, but the other keys imply {value!r}")

    def ignore(self, *names: str) -> None:
        """Mark keys that do not influence what the network computes."""
        self.taken |= set(names)

    def activation(self, name: str) -> Activation:
        """The activation that a key names."""
        return self.known_activation(name, self.take(name))

    def known_activation(self, key: str, name: Any) -> Activation:
        """The activation that transformers calls `name`; a problem if it is unknown here."""
        known = {theirs: ours for ours, names in ACTIVATIONS.items() for theirs in names}
        if name not in known:
            self.unsupported(key, name, tuple(known))
            return activation("gelu")
        return activation(known[name])

    def unsupported(self, name: str, value: Any, allowed: tuple[Any, ...]) -> None:
        """Record a problem if a value is not supported."""
        words = ", ".join(map(str, allowed))
        self.problems.append(f"{name} is {value!r}: supported values are {words}{nearest(value, allowed)}")

    def windows(self, n_layers: int, window: int | None, default: list[str]) -> tuple[int, ...]:
        """The window of each layer; `layer_types`, or else `default`, says which layers have one."""
        kinds = self.take("layer_types") or default
        for kind in dict.fromkeys(kinds):
            if kind not in ("sliding_attention", "full_attention"):
                self.unsupported("layer_types", kind, ("sliding_attention", "full_attention"))
        if len(kinds) != n_layers:
            self.problems.append(
                f"layer_types has {len(kinds)} entries: it must have one for each of {n_layers} layers"
            )
        if window is None and "sliding_attention" in kinds:
            self.problems.append("layer_types has sliding_attention, but sliding_window is missing")
        windows = tuple((window or 0) if kind == "sliding_attention" else 0 for kind in kinds)
        return windows if any(windows) else ()

    def finish(self) -> None:
        """Raises ValueError, naming all problems and all keys that transformers reads but nothing here has taken."""
        for name, value in self.values.items():
            if name in self.taken or value is None:
                continue
            if name not in self.keys and name not in self.aliases:
                self.unread.append(name)
            elif value != self.keys.get(name, (None, None))[1]:
                self.problems.append(f"{name} is {value!r}, which is not supported")
        if self.problems:
            refused = any("not supported" in problem for problem in self.problems)
            hint = "; keys in `ignore` count as absent" if refused else ""
            raise ValueError(f"{self.place}: {'; '.join(self.problems)}{hint}")
