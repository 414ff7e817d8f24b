"""A quantization rounds what it says and nothing else: sites that are kept, smoothing, causality, statistics."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from refusals import refused
from scipy import stats

from lab.probes import dense_inputs
from lab.surgery import quantization
from lab.surgery.quantization import RECIPES, SITES, quantized, site_of
from lab.tasks.language import CausalLanguage
from models.mlp import MLP
from models.quantized import LEVELS
from models.transformer import EncoderDecoder, Transformer

SIZES = {"vocab_size": 17, "context": 8, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 24}
MODEL = Transformer(activation="swiglu", norm="rmsnorm", **SIZES)
TOKENS = np.random.default_rng(0).integers(0, 17, (4, 9))
TASK = CausalLanguage(context=8)


def trained(model, *inputs):
    """Parameters with outliers, none of them zero."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"])
    rng = np.random.default_rng(2)
    return tree.unflatten([jnp.asarray(rng.standard_t(4, leaf.shape) * 0.3, jnp.float32) for leaf in leaves])


def read(model, params):
    """What the layers of one network read."""
    of_one = jax.tree.map(lambda leaf: leaf[None], params)
    found = dense_inputs.read(TASK, model, of_one, {"tokens": TOKENS.reshape(2, 2, -1)})
    return jax.tree.map(lambda leaf: leaf[0], found)


PARAMS = trained(MODEL, TOKENS[:, :-1])


@pytest.fixture(scope="module")
def limits():
    return {path: inputs.limit for path, inputs in read(MODEL, PARAMS).items()}


@partial(jax.jit, static_argnums=0)
def logits(model, params, tokens):
    return model.apply({"params": params}, tokens)


def applied(model, params, tokens=TOKENS[:, :-1]):
    return np.asarray(logits(model, params, tokens))


def test_off_is_the_network_itself(limits):
    model, params = quantized(MODEL, PARAMS, "off", limits)
    assert model is MODEL
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


def test_a_column_is_rounded_no_worse_by_its_own_step_than_by_that_of_an_outlier(limits):
    path = ("layer_0", "feedforward", "up", "kernel")
    flat = flatten_dict(PARAMS)
    flat[path] = flat[path].at[3, 5].set(50.0)
    params, kernel = unflatten_dict(flat), np.asarray(flat[path])

    def error(recipe):
        found = flatten_dict(quantized(MODEL, params, recipe, limits)[1])[path]
        return np.sqrt(((np.asarray(found) - kernel) ** 2).mean(axis=0))

    channel, tensor = error("w8a8"), error("w8a8_tensor")
    np.testing.assert_allclose(channel[5], tensor[5], rtol=1e-5)
    assert (channel <= tensor * (1 + 1e-5)).all()
    assert (np.delete(channel, 5) < np.delete(tensor, 5) / 3).all()


@pytest.mark.parametrize("recipe", [pytest.param("w4", marks=pytest.mark.slow), "smoothquant"])
@pytest.mark.parametrize("site", SITES)
def test_a_site_that_is_kept_has_no_error_and_the_others_have_theirs(limits, recipe, site):
    model, params = quantized(MODEL, PARAMS, recipe, limits, (site,))
    flat, whole = (flatten_dict(tree, sep="/") for tree in (params, quantized(MODEL, PARAMS, recipe, limits)[1]))
    own = {"residual": ("attention_input", "feedforward_input")}.get(site, (site,))
    for path in limits:
        x = jnp.asarray(np.random.default_rng(3).normal(size=(5, *limits[path].shape)), jnp.float32)
        layer = {name.rpartition("/")[2]: leaf for name, leaf in flat.items() if name.startswith(f"{path}/")}
        kept = site_of(path) in own
        before = np.asarray(flatten_dict(PARAMS, sep="/")[f"{path}/kernel"])
        np.testing.assert_array_equal(layer["kernel"], before if kept else whole[f"{path}/kernel"])
        assert kept or (np.asarray(layer["kernel"]) != before).any()
        if recipe != "w4":
            assert (np.asarray(model.read(x, layer)) == x).all() == kept


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "off"])
def test_every_recipe_changes_the_network_and_none_does_if_all_sites_are_kept(limits, recipe):
    before = applied(MODEL, PARAMS)
    model, params = quantized(MODEL, PARAMS, recipe, limits)
    assert np.abs(applied(model, params) - before).max() > 1e-4
    np.testing.assert_allclose(applied(*quantized(MODEL, PARAMS, recipe, limits, SITES)), before, atol=2e-5)


def test_smoothing_preserves_the_function_before_rounding(limits, monkeypatch):
    unrounded = replace(RECIPES["smoothquant"], weight_levels=0.0)
    monkeypatch.setattr(quantization, "RECIPES", {"smoothquant": unrounded})
    model, params = quantized(MODEL, PARAMS, "smoothquant", limits)
    flat = flatten_dict(params)
    flat = {path: jnp.zeros_like(leaf) if path[-1] == LEVELS else leaf for path, leaf in flat.items()}
    up = ("layer_0", "feedforward", "up", "kernel")
    assert np.abs(flat[up] / flatten_dict(PARAMS)[up] - 1).max() > 0.1
    np.testing.assert_array_equal(flat[(*up[:-1], "input_divisor")], flat[(*up[:2], "gate", "input_divisor")])
    np.testing.assert_allclose(applied(model, unflatten_dict(flat)), applied(MODEL, PARAMS), rtol=1e-4, atol=1e-5)


def test_smoothing_balances_inputs_and_kernels(limits):
    flat = flatten_dict(quantized(MODEL, PARAMS, "smoothquant", limits)[1], sep="/")
    name = "layer_1/attention"
    inputs = np.asarray(limits[f"{name}/query"] / flat[f"{name}/query/input_divisor"])
    kernels = [np.abs(flat[f"{name}/{one}/kernel"]).max(axis=1) for one in ("query", "key", "value")]
    # With alpha 1/2 both are sqrt(max|x| max|w|), up to the rounding of the kernels.
    np.testing.assert_allclose(np.max(kernels, axis=0), inputs, rtol=0.1)


@pytest.mark.parametrize("recipe", ["w8a8", "smoothquant"])
def test_a_quantized_decoder_does_not_see_later_tokens_or_other_windows(limits, recipe):
    model, params = quantized(MODEL, PARAMS, recipe, limits)
    other = TOKENS[:, :-1].copy()
    other[:, 5:], other[1:] = 0, 3
    before, after = applied(model, params), applied(model, params, other)
    np.testing.assert_array_equal(before[0, :5], after[0, :5])
    assert (before[0, 5:] != after[0, 5:]).any()


@pytest.mark.parametrize("recipe", [pytest.param("w4a4", marks=pytest.mark.slow), "smoothquant"])
def test_scanned_layers_are_quantized_alike(limits, recipe):
    scanned = MODEL.clone(scan=True)
    params = {name: tree for name, tree in PARAMS.items() if not name.startswith("layer_")}
    params["layers"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), PARAMS["layer_0"], PARAMS["layer_1"])
    own = {path: inputs.limit for path, inputs in read(scanned, params).items()}
    np.testing.assert_allclose(own["layers/feedforward/down"][1], limits["layer_1/feedforward/down"], rtol=1e-5)
    # Not bit for bit: a value at the middle between two codes may go either way.
    found, expected = (
        applied(*quantized(*network, recipe, ends))
        for network, ends in (((scanned, params), own), ((MODEL, PARAMS), limits))
    )
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected - applied(MODEL, PARAMS)).mean()


def test_the_queries_of_cross_attention_are_smoothed_by_themselves():
    model = EncoderDecoder(activation="relu", positions="relative", bias=False, **{**SIZES, "n_layers": 1})
    params = trained(model, TOKENS, TOKENS)
    paths = [path.removesuffix("/kernel") for path in flatten_dict(params, sep="/") if path.endswith("/kernel")]
    flat = flatten_dict(params, sep="/")
    limits = {
        path: jnp.full(flat[f"{path}/kernel"].shape[0], 100.0 if path.endswith("cross_attention/query") else 1.0)
        for path in paths
    }
    made = flatten_dict(quantized(model, params, "smoothquant", limits)[1], sep="/")
    query, key = (made[f"layer_0/cross_attention/{name}/input_divisor"] for name in ("query", "key"))
    assert (query > 3 * key).all()
    assert (made["layer_0/feedforward/down/input_divisor"] == 1).all()


def test_the_statistics_are_those_of_what_the_layers_read():
    found = read(MODEL, PARAMS)
    variables = {"params": PARAMS}
    x = np.asarray(dense_inputs.dense_inputs(MODEL, variables, TOKENS[:, :-1])["layer_1/feedforward/down"])
    one = found["layer_1/feedforward/down"]
    np.testing.assert_allclose(one.limit, np.abs(x).max(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(one.kurtosis, stats.kurtosis(x, axis=None, fisher=False), rtol=1e-3)
    halves = [np.median(np.abs(half)) for half in (x[:2], x[2:])]
    np.testing.assert_allclose(one.max_over_median, np.abs(x).max() / np.mean(halves), rtol=1e-4)


def test_what_is_not_known_is_refused_by_name(limits):
    with refused("recipe", "w8a9", "w8a8"):
        quantized(MODEL, PARAMS, "w8a9", limits)
    with refused("keep", "residuals", "residual"):
        quantized(MODEL, PARAMS, "w8", limits, ("residuals",))
    with refused("smoothquant", "limits"):
        quantized(MODEL, PARAMS, "smoothquant")
    with refused("MLP", "Transformer"):
        quantized(MLP(), {}, "w8")
