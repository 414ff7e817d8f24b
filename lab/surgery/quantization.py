"""Quantizes a trained Transformer after training: recipes, and the sites that may be kept in float.

qwix (0.1.8, jax 0.10.2), Google's library for quantizing Flax models, does not serve here: it replaces
`jax.lax.dot_general` and `jax.numpy.einsum`, but the dense layers here compute by `jax.numpy.dot`, which it leaves in
float without a word; 4-bit inputs do not compile on a CPU; and it has no SmoothQuant.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from lab.files.choices import check_choice
from models.layers.rounding import E4M3_MAX, Format, largest, rounded
from models.layers.stack import Stack
from models.quantized import DIVISOR, LEVELS, LIMIT, Quantized

Limits = Mapping[str, Float[Array, "*layers inner"]]
"""The largest absolute value of each input feature of every dense layer, by path, found on training text."""

INT8, INT4 = 127.0, 7.0
ALPHA = 0.5


@dataclass(frozen=True)
class Recipe:
    """How kernels and inputs of dense layers are rounded, to the nearest value of a symmetric grid."""

    words: str
    weight_levels: float = 0.0
    """Levels of the kernels' grid, see `models.layers.rounding.rounded`; 0: float."""
    input_levels: float = 0.0
    """Levels of the inputs' grid; 0: float."""
    per_tensor: bool = False
    """One step for a kernel, and one for a layer's input, set by calibration; otherwise one for each output channel of
    a kernel, and one for each token of the input, set by the token itself."""
    form: Format = "integer"
    smoothing: float | None = None
    """SmoothQuant's alpha; None: no smoothing."""

    @property
    def needs_limits(self) -> bool:
        """Whether the recipe needs calibration."""
        return self.smoothing is not None or (self.per_tensor and self.input_levels > 0)


RECIPES: Mapping[str, Recipe] = {
    "off": Recipe("no quantization"),
    "w8": Recipe("int8 weights per output channel", INT8),
    "w4": Recipe("int4 weights per output channel", INT4),
    "w8a8": Recipe("int8 weights per output channel, int8 inputs per token", INT8, INT8),
    "w8a8_tensor": Recipe("int8 weights and inputs, per tensor", INT8, INT8, per_tensor=True),
    "smoothquant": Recipe("w8a8_tensor after SmoothQuant with alpha 0.5", INT8, INT8, per_tensor=True, smoothing=ALPHA),
    "fp8": Recipe("fp8 (e4m3) weights and inputs, per tensor", E4M3_MAX, E4M3_MAX, per_tensor=True, form="e4m3"),
    "w4a4": Recipe("int4 weights per output channel, int4 inputs per token", INT4, INT4),
}
"""Post-training quantization by rounding to nearest. Embeddings, the output layer, norms, biases, and the products of
attention (scores, weighted values) stay in float."""

READERS = {
    "attention_input": r"attention/(query|key|value)",
    "attention_values": r"attention/output",
    "feedforward_input": r"feedforward/(gate|up)",
    "feedforward_hidden": r"feedforward/down",
    "residual": r"(attention/(query|key|value)|feedforward/(gate|up))",
}
"""Site -> the layers that read it. A site is kept in float by leaving these layers as they are, weights and inputs.
`attention_values` are the weighted values of all heads, `residual` are all readers of the residual stream."""
SITES = tuple(READERS)
LAYER = r"(?:encoder_)?layers?(?:_\d+)?/(?:cross_)?"
SMOOTHED = READERS["residual"]


def site_of(path: str) -> str | None:
    """The site that the dense layer with this path reads, not counting `residual`; None outside the blocks."""
    return next((site for site in SITES[:-1] if _reads(site, path)), None)


def quantized(
    model: Any, params: Mapping[str, Any], recipe: str, limits: Limits | None = None, keep: Iterable[str] = ()
) -> tuple[Any, dict[str, Any]]:
    """A Transformer (model, params) quantized by a recipe of `RECIPES`; leaves may have leading axes, such as of runs.

    The readers of the sites in `keep` stay in float. `limits` are needed by recipes with calibration, see
    `lab.probes.dense_inputs.limits`. With "off", model and parameters are returned as they are. For SmoothQuant (Xiao
    et al. 2022, arXiv:2211.10438) the readers of the residual stream divide feature j of their input by
    max|x_j|^alpha / max|w_j|^(1 - alpha) and have it multiplied into their kernels, which computes the same before it
    is rounded; where a norm precedes them, deployment folds the division into its scale.

    Raises ValueError for an unknown recipe or site, a model that is no Transformer, and missing limits.
    """
    check_choice("recipe", recipe, RECIPES)
    for site in keep:
        check_choice("keep", site, SITES)
    check_quantizable(model)
    asked = RECIPES[recipe]
    if not asked.weight_levels and not asked.input_levels:
        return model, dict(params)
    if asked.needs_limits and limits is None:
        raise ValueError(f"recipe {recipe} needs limits, the largest inputs of each layer on training text")
    flat = flatten_dict(params, sep="/")
    kept = tuple(keep)
    for path, divisor in _divisors(flat, asked, limits or {}).items():
        whole = any(_reads(site, path) for site in kept)
        limit = largest((limits or {})[path] / divisor, -1)[..., 0] if asked.needs_limits else None
        flat |= _layer(path, flat[f"{path}/kernel"], divisor, limit, asked, whole)
    if not asked.input_levels:
        return model, unflatten_dict(flat, sep="/")
    return Quantized(model, asked.form, not asked.per_tensor), unflatten_dict(flat, sep="/")


def check_quantizable(model: Any) -> None:
    """Raises ValueError for a model that is no Transformer."""
    if not isinstance(model, Stack):
        raise ValueError(f"model is a {type(model).__name__}: only a Transformer can be quantized")


def _layer(
    path: str, kernel: Array, divisor: Array, limit: Array | None, recipe: Recipe, kept: bool
) -> dict[str, Array]:
    """The kernel of a dense layer and what its input is rounded by; if kept, the same parameters that round nothing."""
    if not kept:
        kernel = kernel * divisor[..., None]
        bound = largest(kernel, (-2, -1) if recipe.per_tensor else -2)
        kernel = rounded(kernel, bound, recipe.weight_levels, recipe.form)
    layer = {f"{path}/kernel": kernel}
    if recipe.input_levels:
        levels = jnp.full(kernel.shape[:-2], 0 if kept else recipe.input_levels, jnp.float32)
        layer |= {f"{path}/{LEVELS}": levels, f"{path}/{DIVISOR}": jnp.ones_like(divisor) if kept else divisor}
    if recipe.input_levels and limit is not None:
        layer[f"{path}/{LIMIT}"] = limit
    return layer


def _divisors(flat: Mapping[str, Array], recipe: Recipe, limits: Limits) -> dict[str, Array]:
    """By the path of each dense layer within the blocks, the divisors of its input, 1 unless they are smoothed.

    Layers that read the same input have the same divisors.
    """
    paths = [path.removesuffix("/kernel") for path in flat if path.endswith("/kernel")]
    found = {path: jnp.ones(flat[f"{path}/kernel"].shape[:-1]) for path in paths if site_of(path)}
    if recipe.smoothing is None:
        return found
    groups: dict[str, list[str]] = {}
    for path in found:
        if re.fullmatch(LAYER + SMOOTHED, path):
            groups.setdefault(_input_of(path), []).append(path)
    for group in groups.values():
        inputs = jnp.stack([limits[path] for path in group]).max(axis=0)
        weights = jnp.stack([jnp.abs(flat[f"{path}/kernel"]).max(axis=-1) for path in group]).max(axis=0)
        divisor = _smoothing(inputs, weights, recipe.smoothing)
        found |= dict.fromkeys(group, divisor)
    return found


def _smoothing(inputs: Array, weights: Array, alpha: float) -> Array:
    """SmoothQuant's divisors (equation 4); 1 for a feature or its weights that are always 0."""
    alive = (inputs > 0) & (weights > 0)
    return jnp.where(alive, jnp.where(alive, inputs, 1) ** alpha / jnp.where(alive, weights, 1) ** (1 - alpha), 1)


def _input_of(path: str) -> str:
    """A name of what a reader of the residual stream reads; the queries of cross-attention do not read the source."""
    parent, _, name = path.rpartition("/")
    return f"{parent}/query" if parent.endswith("cross_attention") and name == "query" else parent


def _reads(site: str, path: str) -> bool:
    return re.fullmatch(LAYER + READERS[site], path) is not None
