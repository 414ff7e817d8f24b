"""Files and keys of a folder that are not part of the network: special tokens, labels, the tokenizer."""

from pathlib import Path
from typing import Any

from models.layers.stack import Stack
from models.pretrained.config import HARMLESS
from models.pretrained.format import Format
from models.pretrained.tensors import read_object

FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("generation_config.json", "preprocessor_config.json", "processor_config.json"),
)
"""Files that are copied unchanged."""

NOT_KEPT = {
    *("architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "auto_map", "num_labels"),
    *("_name_or_path", "name_or_path", "_commit_hash", "attn_implementation", "_attn_implementation"),
}
"""Keys without influence that describe the files of a folder and not its network."""


def kept_keys(model: Stack, form: Format, written: dict[str, Any]) -> dict[str, Any]:
    """The keys in the config of a model's source that do not influence what it computes.

    From a config of another model type, only keys common to all types are kept. Label names are kept if their number
    is unchanged.
    """
    path = Path(model.source) / "config.json"
    if not model.source or not path.exists():
        return {}
    kept = {name: value for name, value in read_object(path).items() if name in HARMLESS - NOT_KEPT}
    labels = written.get("id2label", {})
    for name in ("id2label", "label2id"):
        own = kept.pop(name, None)
        if own is not None and len(own) == len(labels):
            written[name] = own
    return kept
