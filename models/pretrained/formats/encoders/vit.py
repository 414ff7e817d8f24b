"""ViT: an encoder of image patches with a classification head."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import Layout, Tensor, dense, learned_activation, norm
from models.vision import VisionTransformer

CLASS_TOKEN = Layout(lambda x: (x.reshape(x.shape[-1]),), lambda x: x[None, None])
POSITIONS = Layout(lambda x: (x.reshape(x.shape[-2:]),), lambda x: x[None])


def model(config: Config) -> VisionTransformer:
    """The model of a config; the number of classes defaults to 2, as in transformers."""
    config.ignore(
        "encoder_stride", "pooler_output_size", "pooler_act"
    )  # of heads that are not needed for these outputs
    height, width = _pair(config.take("image_size"))
    return VisionTransformer(
        image_size=(height, width),
        patch_size=_pair(config.take("patch_size")),
        channels=config.take("num_channels"),
        classes=classes(config),
        d_model=config.take("hidden_size"),
        n_layers=config.take("num_hidden_layers"),
        n_heads=config.take("num_attention_heads"),
        d_ff=config.take("intermediate_size"),
        match="width",
        activation=config.activation("hidden_act"),
        norm_epsilon=config.take("layer_norm_eps"),
        qkv_bias=config.take("qkv_bias"),
        initialization="truncated",
    )


def classes(config: Config) -> int:
    """The number of classes in a config, from its label names or its count."""
    labels = config.take("id2label")
    return config.beside("num_labels", "int", 2) if labels is None else len(labels)


def _pair(size: Any) -> tuple[int, int]:
    return (size[0], size[1]) if isinstance(size, list | tuple) else (size, size)


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        "image_size": list(model.image_size),
        "patch_size": list(model.patch_size),
        "num_channels": model.channels,
        "id2label": {str(i): f"LABEL_{i}" for i in range(model.classes)},
        "label2id": {f"LABEL_{i}": i for i in range(model.classes)},
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "intermediate_size": model.hidden_width,
        "hidden_act": activation_name(model.activation),
        "layer_norm_eps": model.norm_epsilon,
        "qkv_bias": model.has_bias("qkv_bias"),
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    (height, width), channels, d_model = model.patch_size, model.channels, model.d_model
    patches = Layout(
        lambda x: (x.transpose(2, 3, 1, 0).reshape(height * width * channels, d_model),),
        lambda x: x.reshape(height, width, channels, d_model).transpose(3, 2, 0, 1),
    )
    yield Tensor("vit.embeddings.cls_token", ("class_token",), CLASS_TOKEN)
    yield Tensor("vit.embeddings.position_embeddings", ("position_embedding/embedding",), POSITIONS)
    yield Tensor("vit.embeddings.patch_embeddings.projection.weight", ("patch_embedding/kernel",), patches)
    yield Tensor("vit.embeddings.patch_embeddings.projection.bias", ("patch_embedding/bias",))
    for i in range(model.n_layers):
        theirs, ours = f"vit.encoder.layer.{i}", f"layer_{i}"
        for name in ("query", "key", "value"):
            bias = model.has_bias("qkv_bias")
            yield from dense(f"{theirs}.attention.attention.{name}", f"{ours}/attention/{name}", bias)
        yield from dense(f"{theirs}.attention.output.dense", f"{ours}/attention/output", True)
        yield from norm(f"{theirs}.layernorm_before", f"{ours}/attention_norm", model)
        yield from norm(f"{theirs}.layernorm_after", f"{ours}/feedforward_norm", model)
        yield from dense(f"{theirs}.intermediate.dense", f"{ours}/feedforward/up", True)
        yield from learned_activation(f"{theirs}.intermediate.intermediate_act_fn", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.output.dense", f"{ours}/feedforward/down", True)
    yield from norm("vit.layernorm", "final_norm", model)
    yield from dense("classifier", "head", True)


FORMAT = Format(
    *("vit", "ViTForImageClassification", "vit.", model, config, tensors),
    causal=False,
    head="",
    ignored=(r"(vit\.)?pooler\..*",),
)
