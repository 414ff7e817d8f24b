"""Published families of Transformers, from BERT to PaLM: their conventions and sizes as data.

`family("gpt2", "small", activation="swiglu")` is GPT-2 small with SwiGLU layers of equal parameter count. Any field can
be overridden. Weights are initialized as published where a field says so, else as in GPT-2; dropout is 0. Conventions
are taken from the authors' papers and released code, named below, and sizes from the papers' tables.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lab.files.choices import check_choice
from models.activations import activation
from models.layers.positions import RopeScaling
from models.layers.stack import Stack
from models.transformer import EncoderDecoder, Transformer
from models.vision import VisionTransformer

Fields = dict[str, Any]

BANDED = (0, 128)
"""`windows` of GPT-3's layers, alternately dense and locally banded (Brown et al. 2020, section 2.1).

The paper does not state the width of the band; Child et al. (2019, arXiv:1904.10509) used 128 for text.
"""

# Devlin et al. 2018. The released code used the exact GELU until February 2019, then the tanh form.
BERT: Fields = {
    **{"architecture": "encoder", "vocab_size": 30522, "context": 512, "token_types": 2, "positions": "learned"},
    **{"activation": "gelu", "head_activation": "gelu", "head_bias": True, "initialization": "truncated"},
    **{"norm": "layernorm", "norm_epsilon": 1e-12, "placement": "post", "embedding_norm": True},
}
BERT_2019: Fields = {**BERT, "activation": "gelu_tanh", "head_activation": "gelu_tanh"}

# Radford et al. 2019; Brown et al. 2020, "the same model and architecture as GPT-2".
GPT2: Fields = {
    **{"vocab_size": 50257, "context": 1024, "positions": "learned", "activation": "gelu_tanh"},
    **{"norm": "layernorm", "norm_epsilon": 1e-5, "initialization": "gpt2"},
}
GPT3: Fields = {**GPT2, "context": 2048}

# BigScience 2022; the vocabulary of 250 680 is padded.
BLOOM: Fields = {
    **{"vocab_size": 250880, "context": 2048, "positions": "alibi", "activation": "gelu_tanh"},
    **{"norm": "layernorm", "norm_epsilon": 1e-5, "embedding_norm": True, "init_std": 0.0048},
}

# Zhang et al. 2022. The released position tables have two more rows, for padding, which are unused.
OPT: Fields = {
    **{"vocab_size": 50272, "context": 2048, "positions": "learned", "count_padding": False, "activation": "relu"},
    **{"norm": "layernorm", "norm_epsilon": 1e-5, "init_std": 0.006},
}

# Touvron et al. 2023a, 2023b; Grattafiori et al. 2024.
LLAMA: Fields = {
    **{"vocab_size": 32000, "context": 2048, "positions": "rotary", "activation": "swiglu", "bias": False},
    **{"norm": "rmsnorm", "norm_epsilon": 1e-6, "tied": False},
}
LLAMA2: Fields = {**LLAMA, "context": 4096, "norm_epsilon": 1e-5}
LLAMA3: Fields = {**LLAMA2, "vocab_size": 128256, "context": 8192, "rope_theta": 5e5}
LLAMA31: Fields = {"context": 131072, "rope_scaling": RopeScaling("llama3", 8.0)}
LLAMA32: Fields = {"context": 131072, "rope_scaling": RopeScaling("llama3", 32.0), "tied": True}

# Black et al. 2022; Biderman et al. 2023. The weights are published for the exact GELU, though Megatron's fused kernel,
# with which they were trained, has the tanh form; the 20B model's config says tanh. Vocabularies are padded.
PYTHIA: Fields = {
    **{"vocab_size": 50304, "context": 2048, "positions": "rotary", "rotary_fraction": 0.25, "activation": "gelu"},
    **{"norm": "layernorm", "norm_epsilon": 1e-5, "residual": "parallel", "tied": False},
}
GPT_NEOX: Fields = {**PYTHIA, "vocab_size": 50432, "activation": "gelu_tanh"}

# Raffel et al. 2020; Shazeer 2020 for 1.1. Scores are not scaled; the initialization of the queries compensates.
T5: Fields = {
    **{"vocab_size": 32128, "context": 512, "positions": "relative", "attention_scale": 1.0, "activation": "relu"},
    **{"norm": "rmsnorm", "norm_epsilon": 1e-6, "bias": False, "scale_output": True, "head_dim": 64},
    **{"initialization": "lecun", "embedding_std": 1.0},
}
T5_V1_1: Fields = {**T5, "activation": "gelu_tanh_glu", "tied": False, "scale_output": False}

# Gemma Team 2024a, 2024b. The papers' feed-forward widths count both branches.
GEMMA: Fields = {
    **{"vocab_size": 256000, "context": 8192, "positions": "rotary", "activation": "gelu_tanh_glu", "bias": False},
    **{"norm": "rmsnorm", "norm_epsilon": 1e-6, "head_dim": 256, "scale_embeddings": True},
}
GEMMA2: Fields = {
    **{**GEMMA, "placement": "sandwich", "windows": (4096, 0), "attention_cap": 50.0, "logit_cap": 30.0},
    **{"attention_scale": 256**-0.5},
}

# Parmar et al. 2024; Adler et al. 2024; Muralidharan et al. 2024 (Minitron). Only the LayerNorms have biases.
NEMOTRON: Fields = {
    **{"vocab_size": 256000, "context": 4096, "positions": "rotary", "rotary_fraction": 0.5, "activation": "relu2"},
    **{"norm": "layernorm", "norm_epsilon": 1e-5, "bias": False, "norm_bias": True, "tied": False},
    **{"init_std": 0.0134, "n_kv_heads": 8},
}

# Swiss AI Initiative 2025; theta and scaling are those of the released long-context models.
APERTUS: Fields = {
    **{"vocab_size": 131072, "context": 65536, "positions": "rotary", "rope_theta": 12e6, "activation": "xielu"},
    **{"rope_scaling": RopeScaling("llama3", 8.0), "norm": "rmsnorm", "norm_epsilon": 1e-5, "qk_norm": True},
    **{"bias": False, "tied": False, "n_kv_heads": 8},
}

# Dosovitskiy et al. 2020 and the authors' code, with the tanh form; conversions to PyTorch use the exact GELU.
VIT: Fields = {
    **{"image_size": (224, 224), "patch_size": (16, 16), "channels": 3, "classes": 1000, "positions": "learned"},
    **{"activation": "gelu_tanh", "norm": "layernorm", "norm_epsilon": 1e-6, "initialization": "xavier"},
}

# Chowdhery et al. 2022: feed-forward layers of three matrices, each 4 d_model wide, one norm per block, no biases.
PALM: Fields = {
    **{"vocab_size": 256000, "context": 2048, "positions": "rotary", "activation": "swiglu", "bias": False},
    **{"norm": "layernorm", "norm_epsilon": 1e-6, "residual": "parallel_shared", "n_kv_heads": 1, "head_dim": 256},
    **{"initialization": "lecun", "embedding_std": 1.0, "scale_output": True},
}


# Jiang et al. 2023 (arXiv:2310.06825), table 1.
MISTRAL: Fields = {**LLAMA2, "context": 8192, "windows": (4096,), "n_kv_heads": 8}

# Qwen Team 2024 (2 and 2.5: arXiv:2412.15115, table 1), 2025 (3: arXiv:2505.09388, tables 1 and 2).
QWEN2: Fields = {
    **{**LLAMA, "vocab_size": 151936, "context": 32768, "rope_theta": 1e6, "qkv_bias": True, "output_bias": False},
}
QWEN3: Fields = {
    **{**LLAMA, "vocab_size": 151936, "context": 32768, "rope_theta": 1e6, "qk_norm": True, "head_dim": 128},
    "n_kv_heads": 8,
}

# Abdin et al. 2024 (arXiv:2404.14219), the short-context model.
PHI3: Fields = {**LLAMA2, "vocab_size": 32064}

# Wang and Komatsuzaki 2021 (kingoflolz/mesh-transformer-jax): the vocabulary of 50 257 is padded.
GPTJ: Fields = {
    **{"vocab_size": 50400, "context": 2048, "positions": "rotary", "rotary_fraction": 0.25, "activation": "gelu_tanh"},
    **{"norm": "layernorm", "norm_epsilon": 1e-5, "residual": "parallel_shared", "qkv_bias": False},
    **{"output_bias": False, "head_bias": True, "tied": False},
}

# Almazrouei et al. 2023 (arXiv:2311.16867): only the LayerNorms have biases.
FALCON: Fields = {
    **{"vocab_size": 65024, "context": 2048, "positions": "rotary", "activation": "gelu", "bias": False},
    **{"norm": "layernorm", "norm_epsilon": 1e-5, "norm_bias": True, "residual": "parallel", "n_kv_heads": 8},
}

# Liu et al. 2019 (arXiv:1907.11692); Sanh et al. 2019 (arXiv:1910.01108).
ROBERTA: Fields = {
    **{**BERT, "vocab_size": 50265, "token_types": 1, "norm_epsilon": 1e-5, "count_padding": False},
    "initialization": "normal",
}
DISTILBERT: Fields = {**BERT, "token_types": 0}

# Radford et al. 2021 (arXiv:2103.00020): the text tower; the output layer here is its embedding.
CLIP_TEXT: Fields = {**GPT2, "vocab_size": 49408, "context": 77, "activation": "gelu_quick"}

# Gemma Team 2025 (arXiv:2503.19786): one layer in six has full attention, with another RoPE base.
GEMMA3: Fields = {
    **{**GEMMA, "vocab_size": 262144, "context": 32768, "placement": "sandwich", "qk_norm": True},
    **{"windows": (512,) * 5 + (0,), "rope_theta": 1e6, "rope_thetas": (1e4,) * 5 + (1e6,)},
    **{"attention_scale": 256**-0.5},
}

# Hugging Face 2025 (huggingface/smollm): one layer in four has no RoPE (Yang et al. 2025, arXiv:2501.18795).
SMOLLM3: Fields = {
    **{**LLAMA3, "context": 65536, "rope_theta": 5e6, "rope_thetas": (5e6, 5e6, 5e6, 0.0), "norm_epsilon": 1e-6},
    "tied": True,
}

# Team OLMo 2024 (arXiv:2501.00656): layer outputs are normalized, and queries and keys over all heads together.
OLMO2: Fields = {
    **{**LLAMA, "vocab_size": 100352, "context": 4096, "rope_theta": 5e5, "placement": "output"},
    "joint_qk_norm": True,
}


def _shapes(rows: Mapping[str, tuple[float | int, ...]], *more: str) -> dict[str, Fields]:
    """Rows of d_model, n_layers, n_heads and further fields, as fields."""
    names = ("d_model", "n_layers", "n_heads", *more)
    return {size: dict(zip(names, row, strict=True)) for size, row in rows.items()}


_BERT = _shapes({"base": (768, 12, 12), "large": (1024, 24, 16)})
_GPT3 = _shapes(
    {
        **{"small": (768, 12, 12), "medium": (1024, 24, 16), "large": (1536, 24, 16), "xl": (2048, 24, 32)},
        **{"2.7b": (2560, 32, 32), "6.7b": (4096, 32, 32), "13b": (5120, 40, 40), "175b": (12288, 96, 96)},
    }
)
_QWEN2 = ("d_ff", "n_kv_heads")
_LLAMA = {"7b": (4096, 32, 32, 11008), "13b": (5120, 40, 40, 13824)}

FAMILIES: dict[str, tuple[type[Stack], Fields, dict[str, Fields]]] = {
    "bert": (Transformer, BERT, _BERT),
    "bert_2019": (Transformer, BERT_2019, _BERT),
    "gpt2": (
        *(Transformer, GPT2),
        _shapes({"small": (768, 12, 12), "medium": (1024, 24, 16), "large": (1280, 36, 20), "xl": (1600, 48, 25)}),
    ),
    "gpt3": (Transformer, GPT3, _GPT3),
    "bloom": (
        *(Transformer, BLOOM),
        _shapes(
            {
                **{"560m": (1024, 24, 16), "1.1b": (1536, 24, 16), "1.7b": (2048, 24, 16), "3b": (2560, 30, 32)},
                **{"7.1b": (4096, 30, 32), "176b": (14336, 70, 112)},
            }
        ),
    ),
    "opt": (
        *(Transformer, OPT),
        {
            **{"125m": _GPT3["small"], "350m": {**_GPT3["medium"], "placement": "post", "embedding_dim": 512}},
            **{"1.3b": _GPT3["xl"], "2.7b": _GPT3["2.7b"], "6.7b": _GPT3["6.7b"], "13b": _GPT3["13b"]},
            **_shapes({"30b": (7168, 48, 56), "66b": (9216, 64, 72)}),
            **{"175b": _GPT3["175b"]},
        },
    ),
    "llama": (
        *(Transformer, LLAMA),
        {
            **_shapes({**_LLAMA, "33b": (6656, 60, 52, 17920)}, "d_ff"),
            # The only size released with this epsilon.
            **_shapes({"65b": (8192, 80, 64, 22016, 1e-5)}, "d_ff", "norm_epsilon"),
        },
    ),
    "llama2": (
        *(Transformer, LLAMA2),
        {**_shapes(_LLAMA, "d_ff"), **_shapes({"70b": (8192, 80, 64, 28672, 8)}, "d_ff", "n_kv_heads")},
    ),
    "llama3": (
        *(Transformer, LLAMA3),
        {
            **_shapes({"8b": (4096, 32, 32, 14336, 8), "70b": (8192, 80, 64, 28672, 8)}, "d_ff", "n_kv_heads"),
            "3.1-405b": {"d_model": 16384, "n_layers": 126, "n_heads": 128, "d_ff": 53248, "n_kv_heads": 8, **LLAMA31},
            "3.2-1b": {"d_model": 2048, "n_layers": 16, "n_heads": 32, "d_ff": 8192, "n_kv_heads": 8, **LLAMA32},
            "3.2-3b": {"d_model": 3072, "n_layers": 28, "n_heads": 24, "d_ff": 8192, "n_kv_heads": 8, **LLAMA32},
        },
    ),
    "pythia": (
        *(Transformer, PYTHIA),
        {
            **_shapes({"70m": (512, 6, 8), "160m": (768, 12, 12), "410m": (1024, 24, 16), "1b": (2048, 16, 8)}),
            **_shapes({"1.4b": (2048, 24, 16), "2.8b": (2560, 32, 32)}),
            **_shapes({"6.9b": (4096, 32, 32, 50432), "12b": (5120, 36, 40, 50688)}, "vocab_size"),
        },
    ),
    "gpt_neox": (Transformer, GPT_NEOX, _shapes({"20b": (6144, 44, 64)})),
    "t5": (
        *(EncoderDecoder, T5),
        {
            **_shapes({"small": (512, 6, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}),
            **_shapes({"3b": (1024, 24, 32, 16384, 128), "11b": (1024, 24, 128, 65536, 128)}, "d_ff", "head_dim"),
        },
    ),
    "t5_v1_1": (
        *(EncoderDecoder, T5_V1_1),
        _shapes(
            {
                **{"small": (512, 8, 6, 1024), "base": (768, 12, 12, 2048), "large": (1024, 24, 16, 2816)},
                **{"xl": (2048, 24, 32, 5120), "xxl": (4096, 24, 64, 10240)},
            },
            "d_ff",
        ),
    ),
    "gemma": (
        *(Transformer, GEMMA),
        _shapes({"2b": (2048, 18, 8, 16384, 1), "7b": (3072, 28, 16, 24576, 16)}, "d_ff", "n_kv_heads"),
    ),
    "gemma2": (
        *(Transformer, GEMMA2),
        {
            **_shapes({"2b": (2304, 26, 8, 9216, 4), "9b": (3584, 42, 16, 14336, 8)}, "d_ff", "n_kv_heads"),
            "27b": {
                **{"d_model": 4608, "n_layers": 46, "n_heads": 32, "d_ff": 36864, "n_kv_heads": 16, "head_dim": 128},
                **{"attention_scale": 144**-0.5},
            },
        },
    ),
    "nemotron": (
        *(Transformer, NEMOTRON),
        {
            **_shapes({"15b": (6144, 32, 48, 24576), "340b": (18432, 96, 96, 73728)}, "d_ff"),
            **_shapes({"minitron-4b": (3072, 32, 24, 9216, 128)}, "d_ff", "head_dim"),
            **_shapes({"minitron-8b": (4096, 32, 48, 16384, 128)}, "d_ff", "head_dim"),
        },
    ),
    "apertus": (Transformer, APERTUS, _shapes({"8b": (4096, 32, 32, 21504), "70b": (8192, 80, 64, 43008)}, "d_ff")),
    "mistral": (Transformer, MISTRAL, _shapes({"7b": (4096, 32, 32, 14336)}, "d_ff")),
    "qwen2": (
        *(Transformer, QWEN2),
        {
            **_shapes({"0.5b": (896, 24, 14, 4864, 2, True), "1.5b": (1536, 28, 12, 8960, 2, True)}, *_QWEN2, "tied"),
            **_shapes({"7b": (3584, 28, 28, 18944, 4, 152064)}, *_QWEN2, "vocab_size"),
            **_shapes({"72b": (8192, 80, 64, 29568, 8, 152064)}, *_QWEN2, "vocab_size"),
        },
    ),
    "qwen3": (
        *(Transformer, QWEN3),
        {
            **_shapes({"0.6b": (1024, 28, 16, 3072, True), "1.7b": (2048, 28, 16, 6144, True)}, "d_ff", "tied"),
            **_shapes({"4b": (2560, 36, 32, 9728, True)}, "d_ff", "tied"),
            **_shapes({"8b": (4096, 36, 32, 12288), "14b": (5120, 40, 40, 17408)}, "d_ff"),
            **_shapes({"32b": (5120, 64, 64, 25600)}, "d_ff"),
        },
    ),
    "phi3": (Transformer, PHI3, _shapes({"mini": (3072, 32, 32, 8192)}, "d_ff")),
    "gptj": (Transformer, GPTJ, _shapes({"6b": (4096, 28, 16)})),
    "falcon": (
        *(Transformer, FALCON),
        {
            "7b": {"d_model": 4544, "n_layers": 32, "n_heads": 71, "n_kv_heads": 1, "residual": "parallel_shared"},
            **_shapes({"40b": (8192, 60, 128), "180b": (14848, 80, 232)}),
        },
    ),
    "roberta": (Transformer, ROBERTA, _BERT),
    "distilbert": (Transformer, DISTILBERT, _shapes({"base": (768, 6, 12)})),
    "clip_text": (Transformer, CLIP_TEXT, _shapes({"b32": (512, 12, 8)})),
    "gemma3": (Transformer, GEMMA3, _shapes({"1b": (1152, 26, 4, 6912, 1)}, "d_ff", "n_kv_heads")),
    "smollm3": (Transformer, SMOLLM3, _shapes({"3b": (2048, 36, 16, 11008, 4)}, "d_ff", "n_kv_heads")),
    "olmo2": (
        *(Transformer, OLMO2),
        {
            **_shapes({"1b": (2048, 16, 16, 8192), "7b": (4096, 32, 32, 11008), "13b": (5120, 40, 40, 13824)}, "d_ff"),
            **_shapes({"32b": (5120, 64, 40, 27648, 8)}, "d_ff", "n_kv_heads"),
        },
    ),
    "vit": (VisionTransformer, VIT, _shapes({"s16": (384, 12, 6), "b16": (768, 12, 12), "l16": (1024, 24, 16)})),
    "palm": (
        *(Transformer, PALM),
        _shapes({"8b": (4096, 32, 16, 16384), "62b": (8192, 64, 32, 32768), "540b": (18432, 118, 48, 73728)}, "d_ff"),
    ),
}


def family(name: str, size: str, **fields: Any) -> Stack:
    """The model of a published family and size; keyword arguments override its fields.

    Two rows of GPT-3's Table 2.1 are inconsistent as printed; the values here are those of metaseq, which reproduced
    them: XL has 32 heads of 64 (24 of 128 would be 3072 wide, not 2048), 13B is 5120 wide (5140 is not 40 heads of
    128). All layers are dense; `windows=BANDED` makes every second one banded.

    A published gated layer of width w counts as the match of a plain layer of width 3/2 w, so that another activation
    has the same number of parameters (or FLOPs, or the same width with match="width") as the published one, whichever
    of the two is gated.

    Raises ValueError, naming the nearest match, for an unknown family, size or field.
    """
    check_choice("family", name, FAMILIES)
    kind, conventions, sizes = FAMILIES[name]
    check_choice(f"size of {name}", size, sizes)
    own = {**conventions, **sizes[size]}
    names = [field.name for field in dataclasses.fields(kind)]
    for field in fields:
        check_choice(f"field of {name}", field, names)
    gated = activation(own["activation"]).gated
    if gated and fields.get("match") != "width":
        own["d_ff"] = own["d_ff"] * 3 // 2
    return kind(**{**own, **fields})
