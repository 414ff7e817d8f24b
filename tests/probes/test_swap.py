"""A swap keeps the weights: exact where the mathematics is, refused where there is none."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

from lab.surgery.centring import centred
from lab.surgery.swap import swapped
from models import pretrained
from models.families import family
from models.layers.normalization import Norm
from models.mlp import MLP
from models.transformer import EncoderDecoder, Transformer
from models.vision import VisionTransformer

SIZES = {"d_model": 16, "n_layers": 1, "n_heads": 4, "d_ff": 24}
GPT2 = Transformer(vocab_size=11, context=8, activation="gelu_tanh", **SIZES)
SCANNED = GPT2.clone(n_layers=2, scan=True)
VIT = VisionTransformer(image_size=(4, 4), patch_size=(2, 2), channels=1, classes=3, **SIZES)
T5 = EncoderDecoder(vocab_size=11, context=8, positions="relative", activation="relu", bias=False, **SIZES)
TOKENS = np.random.default_rng(0).integers(0, 11, (2, 8))


def inputs(model):
    if isinstance(model, VisionTransformer):
        return (np.random.default_rng(1).normal(size=(2, 4, 4, 1)).astype("float32"),)
    return (TOKENS, TOKENS[:, ::-1]) if isinstance(model, EncoderDecoder) else (TOKENS,)


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), *inputs(model))["params"]


def trained(model):
    """Parameters of which none is zero, and most do not have mean zero."""
    leaves, tree = jax.tree.flatten(shapes(model))
    rng = np.random.default_rng(2)
    return tree.unflatten([jnp.asarray(rng.normal(0.2, 0.4, leaf.shape), jnp.float32) for leaf in leaves])


@partial(jax.jit, static_argnums=0)
def applied(model, params):
    return model.apply({"params": params}, *inputs(model))


def outputs(model, params):
    return np.asarray(applied(model, params))


def distance(network, other):
    return np.abs(outputs(*network) - outputs(*other)).max() / np.abs(outputs(*network)).max()


@pytest.mark.parametrize(
    ("model", "activation"),
    [
        (GPT2.clone(activation="gelu"), "geglu"),
        (SCANNED.clone(activation="swish_beta"), "swish_beta_glu"),
        pytest.param(T5, "reglu", marks=pytest.mark.slow),
    ],
    ids=["gelu", "learned, scanned", "no biases"],
)
def test_the_gated_unit_of_an_activation_computes_the_same(model, activation):
    params = trained(model)
    other, others = swapped(model, params, activation)
    assert other.activation.name == activation
    assert other.hidden_width == model.hidden_width
    assert distance((model, params), (other, others)) < 1e-6


FOLDED = {
    "gpt2": GPT2,
    "scanned": SCANNED.clone(head_bias=True),
    "parallel": GPT2.clone(residual="parallel_shared", positions="rotary", tied=False, bias=False),
    "projected embedding": GPT2.clone(embedding_dim=8, token_types=2),
    "encoder and decoder": T5,
    "vision": VIT,
}


@pytest.mark.parametrize("name", slow_but(["gpt2", "encoder and decoder"], FOLDED))
def test_folding_makes_an_rmsnorm_compute_what_the_layernorm_did(name):
    model = FOLDED[name]
    params = trained(model)
    assert distance((model, params), swapped(model, params, norm="rmsnorm", fold=True)) < 1e-5


def test_without_folding_an_rmsnorm_computes_something_else():
    params = trained(GPT2)
    assert distance((GPT2, params), swapped(GPT2, params, norm="rmsnorm")) > 1e-2


def test_the_centred_stream_has_mean_zero():
    model, params = centred(GPT2, trained(GPT2))
    blocks = partial(model.apply, capture_intermediates=lambda module, method: (module.name or "").startswith("layer_"))
    sown = jax.jit(blocks)({"params": params}, TOKENS)[1]["intermediates"]
    assert np.abs(sown["layer_0"]["__call__"][0].mean(axis=-1)).max() < 1e-5


FAMILIES = [
    ("gpt2", "small", "prelu", "rmsnorm", {}),
    ("gpt2", "small", "xielu_glu", "rmsnorm", {"scan": True, "n_layers": 2}),
    ("bert", "base", "geglu", "rmsnorm", {}),
    ("llama", "7b", "geglu", "layernorm", {"match": "parameters"}),
    ("t5", "small", "swiglu", "layernorm", {}),
]


@pytest.mark.parametrize(("name", "size", "activation", "norm", "fields"), FAMILIES)
def test_every_family_swaps_to_what_the_model_takes(name, size, activation, norm, fields):
    model = family(name, size, **{"vocab_size": 11, "context": 8, **SIZES, **fields})
    other, params = swapped(model, trained(model), activation, norm)
    assert (other.activation.name, other.norm) == (activation, norm)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes(other))


def test_learned_parameters_start_as_declared():
    model = SCANNED.clone(activation="swish_beta")
    _, params = swapped(model, trained(model), "polyrelu")
    layer = params["layers"]["feedforward"]
    assert "activation_beta" not in layer
    np.testing.assert_allclose(layer["activation_weight"], np.full((2, 3), 1 / 3), rtol=1e-6)
    np.testing.assert_array_equal(layer["activation_bias"], np.zeros(2))


@pytest.mark.parametrize("model", [GPT2, GPT2.clone(norm="rmsnorm"), GPT2.clone(bias=False)])
def test_a_norm_there_and_back_is_the_same_with_the_same_parameters(model):
    params = {"any": 1}
    there, same = swapped(model, params, norm={"layernorm": "rmsnorm", "rmsnorm": "layernorm"}[model.norm])
    back, still = swapped(there, same, norm=model.norm)
    assert still is same is params
    assert (back.norm, back.has_norm_bias) == (model.norm, model.has_norm_bias)


def test_an_rmsnorm_has_a_bias_only_if_it_is_asked_for():
    x, params = jnp.arange(1.0, 5.0), {"scale": jnp.ones(4), "bias": jnp.arange(4.0)}
    with_bias, without = (Norm("rmsnorm", use_bias=use).apply({"params": params}, x) for use in (True, None))
    np.testing.assert_allclose(with_bias, without + jnp.arange(4.0), rtol=1e-6)
    norms = [shapes(GPT2.clone(norm="rmsnorm", norm_bias=given))["final_norm"].keys() for given in (True, None)]
    assert norms == [{"scale", "bias"}, {"scale"}]


def test_an_rmsnorm_with_a_bias_is_not_written_as_one_without(tmp_path):
    model = family("llama", "7b", vocab_size=11, context=8, **SIZES, norm_bias=True)
    with pytest.raises(ValueError, match=r"norm_bias False.*not True"):
        pretrained.save(tmp_path, model, trained(model))


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        ({"activation": "geglu"}, {"activation": "gelu"}, "'geglu' -> 'gelu': a gated one has two inputs"),
        ({}, {"activation": "swiglu_clamped"}, "'gelu_tanh' -> 'swiglu_clamped': no constant value"),
        ({}, {"activation": "gellu"}, "'gellu' is unknown; did you mean 'gelu'"),
        ({}, {"norm": "none"}, "'layernorm' -> 'none': 'none' has no parameters"),
        ({}, {"norm": "dyt"}, "'layernorm' -> 'dyt': 'dyt' has parameters of its own"),
        ({"norm": "none"}, {"norm": "rmsnorm"}, "'none' -> 'rmsnorm': 'none' has no parameters"),
        (
            {"head_activation": "gelu"},
            {"norm": "rmsnorm", "fold": True},
            "head_activation is Activation",
        ),
        ({}, {"activation": "relu", "fold": True}, "fold is True, but norm is 'layernorm' -> None"),
        ({"norm": "rmsnorm"}, {"norm": "layernorm", "fold": True}, "fold is True, but norm is 'rmsnorm'"),
        *(
            ({field: value}, {"norm": "rmsnorm", "fold": True}, f"{field} is {value!r}, but the residual stream")
            for field, value in {
                **{"placement": "post", "embedding_norm": True, "final_norm": False, "qk_norm": True},
                **{"positions": "sinusoidal"},
            }.items()
        ),
    ],
)
def test_what_is_not_defined_is_refused_by_name(change, asked, message):
    with pytest.raises(ValueError, match=message):
        swapped(GPT2.clone(**change), {}, **asked)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"activation": "geglu"}, ["'gelu'", "'geglu'", "MLP"]),
        ({"activation": "prelu"}, ["'gelu'", "'prelu'", "slope", "MLP"]),
        ({"norm": "rmsnorm"}, ["norm", "MLP"]),
        ({"fold": True}, ["norm", "MLP"]),
    ],
)
def test_of_another_model_only_the_function_can_be_swapped(asked, named):
    with pytest.raises(ValueError, match="MLP") as refused:
        swapped(MLP(), {}, **asked)
    assert all(word in str(refused.value) for word in named)


def test_another_model_keeps_its_parameters():
    model, params = MLP(), {"layer_0": {"up": {"kernel": np.ones((2, 2))}}}
    assert swapped(model, params, "relu") == (model.clone(activation="relu"), params)
