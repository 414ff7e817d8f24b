"""The supported model types, and the reasons why some common ones are not supported."""

from lab.files.choices import nearest
from models.pretrained.format import Format
from models.pretrained.formats import t5
from models.pretrained.formats.decoders import (
    apertus,
    bloom,
    falcon,
    gemma,
    gemma3,
    gpt2,
    gpt_neox,
    gptj,
    llama,
    mistral,
    nemotron,
    olmo2,
    opt,
    phi3,
    qwen,
    smollm3,
)
from models.pretrained.formats.encoders import bert, clip, distilbert, roberta, vit

FORMATS: dict[str, Format] = {
    form.model_type: form
    for form in (
        *(gpt2.FORMAT, bert.FORMAT, bloom.FORMAT, opt.FORMAT, llama.FORMAT, gpt_neox.FORMAT, t5.FORMAT),
        *(gemma.FORMAT, gemma.FORMAT_2, nemotron.FORMAT, apertus.FORMAT, vit.FORMAT),
        *(mistral.FORMAT, qwen.FORMAT_2, qwen.FORMAT_3, phi3.FORMAT, gptj.FORMAT, falcon.FORMAT),
        *(roberta.FORMAT, distilbert.FORMAT, clip.FORMAT, gemma3.FORMAT, smollm3.FORMAT, olmo2.FORMAT),
    )
}

_EXPERTS = "its feed-forward layers are mixtures of experts"
_IMAGES = "it reads images as well as text"
_RECURRENT = "it is recurrent"
REASONS = {
    **dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe", "granitemoe", "dbrx", "jetmoe"), _EXPERTS),
    **dict.fromkeys(("gpt_oss", "llama4", "llama4_text", "deepseek_v2", "deepseek_v3", "glm4_moe"), _EXPERTS),
    **dict.fromkeys(("llava", "llava_next", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "mllama", "idefics3"), _IMAGES),
    **dict.fromkeys(("paligemma", "gemma3n", "smolvlm", "siglip", "blip", "blip-2", "mistral3"), _IMAGES),
    "clip": f"{_IMAGES}; its text tower alone is a clip_text_model",
    "gemma3": f"{_IMAGES}; its text model alone is a gemma3_text",
    **dict.fromkeys(("mamba", "mamba2", "rwkv", "jamba", "recurrent_gemma", "falcon_mamba", "zamba2"), _RECURRENT),
    "albert": "its layers share their parameters",
    **dict.fromkeys(("deberta", "deberta-v2"), "its attention separates content from position"),
    "electra": "it predicts which tokens were replaced, not which they are",
    "modernbert": "its layers combine different RoPE bases, windows and norms",
    **dict.fromkeys(("cohere", "cohere2"), "it scales its logits"),
    "granite": "it scales embeddings, residuals and logits",
    **dict.fromkeys(("bart", "mbart", "pegasus", "marian", "whisper"), "it is an encoder-decoder other than T5"),
    **dict.fromkeys(("mpt", "RefinedWebModel", "RefinedWeb"), "its folder needs custom code"),
    "gemma4": "some of its layers share keys and values",
    "gemma4_text": "some of its layers share keys and values",
}
"""Model types that the fields of Transformer cannot express, and why."""


def format_of(model_type: object, place: str) -> Format:
    """The format of a model type. Raises ValueError for an unsupported type, with the reason if it is known."""
    if isinstance(model_type, str) and model_type in FORMATS:
        return FORMATS[model_type]
    known = isinstance(model_type, str) and model_type in REASONS
    reason = f", which is not supported: {REASONS[str(model_type)]}" if known else ""
    raise ValueError(
        f"{place}: model_type is {model_type!r}{reason}; supported types are {', '.join(FORMATS)}"
        f"{'' if reason else nearest(model_type, FORMATS)}"
    )
