"""The Transformer: who sees whom, the same weights however it is run, and what its fields mean."""

import copy
import functools
import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from refusals import refused

from models.activations import activation
from models.layers.attention import attend
from models.layers.normalization import Norm
from models.layers.positions import (
    RopeScaling,
    alibi_slopes,
    frequencies,
    relative_buckets,
    rotate,
    rotation,
    sinusoids,
)
from models.transformer import EncoderDecoder, Transformer

LENGTH = 6
TOKENS = jax.random.randint(jax.random.key(1), (2, LENGTH), 0, 11)
SMALL = Transformer(vocab_size=11, context=8, d_model=16, n_layers=1, n_heads=4, activation="gelu", init_std=0.3)
DEEP = SMALL.clone(n_layers=2)


@functools.cache
def draw(model):
    return model.init(jax.random.key(0), TOKENS)


def leaves(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@functools.cache
def influence(model):
    """mask -> [query, source]: largest gradient of a position's logits by a position's token embedding."""
    variables = draw(model)
    weights = jax.random.normal(jax.random.key(2), (model.vocab_size,))

    def logits(change, mask):
        def add(call, args, kwargs, context):
            embeds = (context.module.name, context.method_name) == ("token_embedding", "__call__")
            return call(*args, **kwargs) + change if embeds else call(*args, **kwargs)

        with nn.intercept_methods(add):
            return model.apply(variables, TOKENS, mask) @ weights

    jacobian = jax.jit(partial(jax.jacrev(logits), jnp.zeros((*TOKENS.shape, model.d_model))))
    return lambda mask: np.abs(np.stack([jacobian(mask)[b, :, b] for b in range(len(TOKENS))])).max(axis=(0, -1))


@pytest.mark.parametrize(
    "model",
    [
        SMALL.clone(positions="rotary", n_kv_heads=2, qk_norm=True, activation="swiglu"),
        pytest.param(DEEP.clone(positions="alibi", placement="post", scan=True), marks=pytest.mark.slow),
    ],
)
def test_no_position_sees_a_later_one_and_all_see_the_earlier(model):
    seen = influence(model)(None) > 0
    np.testing.assert_array_equal(seen, np.tril(np.ones_like(seen)))


@pytest.mark.parametrize("positions", slow_but(["learned"], ["learned", "relative"]))
def test_an_encoders_tokens_all_see_each_other(positions):
    assert np.all(influence(SMALL.clone(architecture="encoder", positions=positions))(None) > 0)


@pytest.mark.parametrize("scan", slow_but([True], [False, True]))
def test_a_window_ends_where_it_says_and_layers_take_turns(scan):
    seen = influence(DEEP.clone(positions="none", windows=(2, 1), scan=scan))(None) > 0
    distance = np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))
    np.testing.assert_array_equal(seen, (distance >= 0) & (distance < 2))
    np.testing.assert_array_equal(influence(SMALL.clone(windows=(0,), scan=scan))(None) > 0, distance >= 0)


def test_the_encoders_padding_has_no_influence_on_the_decoder():
    model = EncoderDecoder(vocab_size=11, d_model=16, n_layers=1, positions="relative", init_std=0.3)
    variables = model.init(jax.random.key(0), TOKENS, TOKENS)
    mask = jnp.array([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]])
    changed = jnp.where(mask == 0, (TOKENS + 1) % 11, TOKENS)
    apply = jax.jit(model.apply)
    np.testing.assert_array_equal(apply(variables, TOKENS, TOKENS, mask), apply(variables, changed, TOKENS, mask))
    assert jnp.any(apply(variables, TOKENS, TOKENS, mask) != apply(variables, changed, TOKENS))
    later = TOKENS.at[:, 3].set((TOKENS[:, 3] + 1) % 11)
    moved = jnp.any(apply(variables, TOKENS, TOKENS) != apply(variables, TOKENS, later), axis=(0, 2))
    np.testing.assert_array_equal(moved, [False, False, False, True, True, True])


@pytest.mark.parametrize("padding", [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
def test_padding_has_no_influence_and_gives_no_nan(padding):
    seen = influence(SMALL)(jnp.array([padding, padding]))
    real = np.array(padding, bool)
    visible = np.tril(np.logical_and.outer(real, real) | np.eye(LENGTH, dtype=bool))
    assert np.all(np.isfinite(seen))
    np.testing.assert_array_equal(seen > 0, visible)


@functools.cache
def start(model):
    """Initial variables, loss and gradient, with the layers stacked."""
    variables = draw(model)
    loss, gradient = jax.jit(jax.value_and_grad(lambda v: jnp.square(model.apply(v, TOKENS)).mean()))(variables)

    def stacked(params):
        layers = [params[f"layer_{i}"] for i in range(model.n_layers)]
        others = {name: leaf for name, leaf in params.items() if not name.startswith("layer_")}
        return {**others, "layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}

    params, gradient = variables["params"], gradient["params"]
    return (params, loss, gradient) if model.scan else (stacked(params), loss, stacked(gradient))


@pytest.mark.parametrize(
    "change", [pytest.param({"remat": True}, marks=pytest.mark.slow), {"scan": True, "remat": True}]
)
def test_scanned_and_rematerialized_layers_are_the_same_function(change):
    (params, *result), (expected_params, *expected) = start(DEEP.clone(**change)), start(DEEP)
    jax.tree.map(np.testing.assert_array_equal, params, expected_params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), result, expected)


@pytest.mark.parametrize("name", ["relu", "prelu", "swiglu"])
@pytest.mark.parametrize("scan", [False, True])
def test_a_seed_gives_shared_parameters_the_same_start_for_every_activation(name, scan):
    model = SMALL.clone(scan=scan)
    gelu, other = (leaves(draw(m)) for m in (model, model.clone(activation=name)))
    shared = {path for path in gelu if path in other and gelu[path].shape == other[path].shape}
    assert all("feedforward" in path for path in gelu.keys() - shared)
    assert name == "swiglu" or shared == gelu.keys()
    for path in shared:
        np.testing.assert_array_equal(gelu[path], other[path])


def test_bfloat16_is_near_float32_and_parameters_and_logits_stay_float32():
    model = SMALL.clone(dtype="bfloat16", positions="rotary", tied=False)
    variables = draw(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits, seen = jax.jit(partial(model.apply, capture_intermediates=True))(variables, TOKENS)
    assert logits.dtype == jnp.float32
    assert seen["intermediates"]["layer_0"]["__call__"][0].dtype == jnp.bfloat16
    exact = model.clone(dtype="float32").apply(variables, TOKENS)
    assert 0 < jnp.abs(logits - exact).max() < 0.03 * jnp.abs(exact).max()


PLACES = itertools.product(["layernorm", "rmsnorm", "none"], ["pre", "post", "sandwich", "input"])
POSITIONS = itertools.cycle(["learned", "rotary", "alibi", "relative", "sinusoidal", "none"])


@pytest.mark.parametrize(("norm", "placement", "positions"), [(*place, next(POSITIONS)) for place in PLACES])
def test_every_norm_placement_and_position_has_a_shape(norm, placement, positions):
    model = SMALL.clone(norm=norm, placement=placement, positions=positions, qk_norm=norm != "none")
    assert jax.eval_shape(model.init_with_output, jax.random.key(0), TOKENS)[0].shape == (2, LENGTH, 11)


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_norms_are_their_formulas(kind):
    x = np.random.default_rng(0).normal(1.0, 2.0, (2, 3, 8)).astype("float32")
    params = {"scale": np.arange(8.0) - 3, "bias": np.arange(8.0)}
    center, bias = (x.mean(-1, keepdims=True), params["bias"]) if kind == "layernorm" else (0, 0)
    expected = (x - center) / np.sqrt(((x - center) ** 2).mean(-1, keepdims=True) + 0.1) * params["scale"] + bias
    normalize = partial(Norm(kind, 0.1).apply, {"params": params})
    np.testing.assert_allclose(normalize(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
    assert jax.eval_shape(normalize, jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("placement", ["pre", "post", "sandwich"])
def test_a_placement_normalizes_what_it_says(placement):
    model = SMALL.clone(placement=placement, bias=False, positions="none")
    _, seen = jax.jit(partial(model.apply, capture_intermediates=True))(draw(model), TOKENS)
    block = seen["intermediates"]["layer_0"]
    output = {name: block[name]["__call__"][0] for name in block.keys() - {"__call__"}}
    x = seen["intermediates"]["token_embedding"]["__call__"][0]
    norm = partial(Norm(use_bias=False).apply, {"params": {"scale": jnp.ones(16)}})
    if placement == "post":
        x = norm(norm(x + output["attention"]) + output["feedforward"])
    elif placement == "pre":
        np.testing.assert_allclose(output["attention_norm"], norm(x), rtol=1e-4, atol=1e-5)
        x = x + output["attention"] + output["feedforward"]
    else:
        np.testing.assert_allclose(output["attention_norm"], norm(x), rtol=1e-4, atol=1e-5)
        x = x + norm(output["attention"]) + norm(output["feedforward"])
    np.testing.assert_allclose(block["__call__"][0], x, rtol=1e-4, atol=1e-5)
    assert ("final_norm" in seen["intermediates"]) == (placement != "post")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {"placement": "sandwich", "positions": "rotary", "tied": False, "initialization": "xavier"},
            marks=pytest.mark.slow,
        ),
        {"norm": "rmsnorm", "placement": "post", "positions": "alibi", "bias": False, "initialization": "lecun"},
        {"norm": "none", "positions": "sinusoidal", "activation": "prelu", "initialization": "normal"},
        {
            "positions": "relative",
            "placement": "input",
            "residual": "parallel",
            "embedding_dim": 6,
            "qk_norm": True,
            "head_activation": "gelu",
            "head_bias": True,
            "embedding_norm": True,
            "token_types": 1,
            "logit_cap": 5.0,
        },
    ],
)
def test_gradients_are_finite_and_reach_every_parameter(fields):
    model = SMALL.clone(**fields)
    variables = draw(model)
    targets = jnp.roll(TOKENS, 1)[..., None]

    def loss(variables):
        return -jnp.take_along_axis(jax.nn.log_softmax(model.apply(variables, TOKENS)), targets, -1).mean()

    for name, gradient in leaves(jax.jit(jax.grad(loss))(variables)).items():
        assert np.all(np.isfinite(gradient)), name
        # A key's bias adds the same to all scores of a query, and the softmax does not see it.
        assert np.any(gradient != 0) or "['key']['bias']" in name, name


def test_key_and_value_heads_are_shared_by_groups_of_neighbours():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, heads, 5, 3)).astype("float32") for heads in (4, 2, 2))
    grouped = jax.jit(attend)(q, k, v)
    scores = q @ k.repeat(2, axis=1).swapaxes(-1, -2) / np.sqrt(3)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(grouped, weights @ v.repeat(2, axis=1), rtol=1e-4, atol=1e-6)


def test_as_many_key_heads_as_heads_is_the_default():
    variables = draw(SMALL)
    logits = SMALL.clone(n_kv_heads=4).apply(variables, TOKENS)
    np.testing.assert_array_equal(logits, SMALL.apply(variables, TOKENS))


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = (jnp.broadcast_to(jax.random.normal(jax.random.key(i), (8,)), (1, 1, 10, 8)) for i in range(2))
    turn = rotation(jnp.arange(10)[None], 8)
    scores = jnp.einsum("bhqd,bhkd->qk", rotate(q, turn), rotate(k, turn))
    np.testing.assert_allclose(scores[3:, 3:], scores[:-3, :-3], rtol=1e-4, atol=1e-5)
    assert jnp.abs(scores[0, 1:] - scores[0, :-1]).min() > 1e-3


def test_the_part_of_a_head_that_is_not_rotated_stays():
    x = jax.random.normal(jax.random.key(0), (1, 1, 5, 8))
    turned = rotate(x, rotation(jnp.arange(5)[None], 4))
    np.testing.assert_array_equal(turned[..., 4:], x[..., 4:])
    np.testing.assert_allclose(turned[..., :4], rotate(x[..., :4], rotation(jnp.arange(5)[None], 4)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "llama3", "yarn"])
def test_a_longer_context_slows_the_slow_frequencies_alone(kind):
    scaling = RopeScaling(kind, 8.0, 256, 1.0, 4.0)
    ratio = frequencies(64, scaling=scaling) / frequencies(64)
    turns = 256 * frequencies(64) / (2 * np.pi)
    np.testing.assert_allclose(ratio[turns < 0.5], 1 / 8, rtol=1e-6)
    np.testing.assert_allclose(ratio[turns > 8], 1 / 8 if kind == "linear" else 1, rtol=1e-6)
    assert np.all((ratio >= 1 / 8 - 1e-6) & (ratio <= 1 + 1e-6))
    assert scaling.query_key_factor == (0.1 * np.log(8) + 1 if kind == "yarn" else 1)


@pytest.mark.parametrize("causal", [True, False])
def test_relative_buckets_are_single_near_and_logarithmic_far(causal):
    distance = jnp.arange(-200, 201)[None]
    buckets = dict(zip(distance[0].tolist(), relative_buckets(distance, 32, 128, causal)[0].tolist(), strict=True))
    exact = 16 if causal else 8
    assert [buckets[d] for d in range(exact)] == list(range(exact))
    last = 31 if causal else 15
    assert buckets[128] == buckets[200] == last
    assert sorted({buckets[d] for d in range(200)}) == list(range(last + 1))
    assert [buckets[-d] for d in (1, 5, 200)] == ([0, 0, 0] if causal else [17, 21, 31])
    grown = [buckets[d] for d in range(200)]
    assert grown == sorted(grown)


def test_sinusoids_are_those_of_the_paper():
    table = sinusoids(jnp.arange(5)[None], 6)[0]
    for position in range(5):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            np.testing.assert_allclose(table[position, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-6)


@pytest.mark.parametrize(
    ("n_heads", "slopes"),
    [
        (1, [2**-8]),
        (4, [2**-2, 2**-4, 2**-6, 2**-8]),
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
    ],
)
def test_alibi_slopes(n_heads, slopes):
    np.testing.assert_allclose(alibi_slopes(n_heads), slopes)


def test_dropout_only_in_training():
    model = SMALL.clone(dropout=0.5)
    variables = draw(model)
    apply = jax.jit(partial(model.apply, train=True))
    logits = [apply(variables, TOKENS, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(model.apply(variables, TOKENS), SMALL.apply(variables, TOKENS))
    np.testing.assert_array_equal(logits[0], logits[1])
    assert jnp.all(jnp.any(logits[0] != logits[2], axis=-1))


def test_layers_in_a_scan_drop_different_units():
    model = DEEP.clone(dropout=0.5, scan=True)
    variables = draw(model)
    rngs = {"dropout": jax.random.key(0)}
    _, seen = jax.jit(partial(model.apply, train=True, capture_intermediates=True))(variables, TOKENS, rngs=rngs)
    dropped = seen["intermediates"]["layers"]["feedforward"]["dropout"]["__call__"][0] == 0
    assert jnp.any(dropped[0] != dropped[1])


def test_tied_output_is_the_embedding():
    tied, untied = (leaves(draw(SMALL.clone(tied=tied))) for tied in (True, False))
    assert untied.keys() - tied.keys() == {"['params']['head']['kernel']"}
    variables = copy.deepcopy(draw(SMALL.clone(tied=False)))
    variables["params"]["head"]["kernel"] = variables["params"]["token_embedding"]["embedding"].T
    untied = SMALL.clone(tied=False).apply(variables, TOKENS)
    del variables["params"]["head"]
    np.testing.assert_allclose(SMALL.apply(variables, TOKENS), untied, rtol=1e-5)


def test_gpt2_scales_the_kernels_that_write_to_the_residual_stream():
    gpt2, normal = (leaves(draw(SMALL.clone(initialization=name))) for name in ("gpt2", "normal"))
    for name, kernel in gpt2.items():
        scale = 2**-0.5 if "['output']['kernel']" in name or "['down']['kernel']" in name else 1.0
        np.testing.assert_allclose(kernel, scale * normal[name], rtol=1e-6)


def test_equal_models_are_equal_and_take_an_activation_by_name():
    assert SMALL.activation == activation("gelu")
    assert SMALL.clone(activation=activation("gelu")) == SMALL
    assert hash(SMALL) == hash(SMALL.clone(activation=activation("gelu")))
    assert SMALL.clone(activation="relu") != SMALL


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_heads": 3}, ("n_heads", "3", "d_model", "16")),
        ({"n_kv_heads": 3}, ("n_kv_heads", "3", "n_heads", "4")),
        ({"n_layers": 0}, ("n_layers", "0")),
        ({"d_ff": -1}, ("d_ff", "-1")),
        ({"norm_epsilon": 0.0}, ("norm_epsilon", "0.0")),
        ({"n_heads": 16, "positions": "rotary"}, ("positions", "'rotary'", "even")),
        ({"rotary_fraction": 0.1, "positions": "rotary"}, ("positions", "'rotary'", "even")),
        ({"rotary_fraction": 1.5}, ("rotary_fraction", "1.5", "1")),
        ({"positions": "relative", "relative_buckets": 2}, ("relative_buckets", "2", "4")),
        ({"windows": (4, -1)}, ("windows", "(4, -1)")),
        ({"architecture": "encodr"}, ("architecture", "'encodr'", "decoder", "encoder")),
        ({"residual": "paralel"}, ("residual", "'paralel'", "sequential", "'parallel'", "parallel_shared")),
        ({"head_activation": "swiglu"}, ("head_activation", "'swiglu'")),
        ({"head_activation": "soi"}, ("head_activation", "'soi'")),
        ({"logit_cap": 0.0}, ("logit_cap", "0.0")),
        ({"d_model": 15, "n_heads": 3, "positions": "sinusoidal"}, ("positions", "'sinusoidal'", "even", "d_model")),
        ({"norm": "rmsnrm"}, ("norm", "'rmsnrm'", "layernorm", "none", "'rmsnorm'")),
        ({"dtype": "f8"}, ("dtype", "'f8'", "float32", "bfloat16")),
        ({"norm": "none", "qk_norm": True}, ("qk_norm", "True", "norm", "'none'")),
        ({"dropout": 1.0}, ("dropout", "1.0", "0", "1")),
        ({"context": 5}, ("input", "6", "positions", "5")),
    ],
)
def test_bad_fields_are_refused_in_one_sentence(fields, words):
    model = SMALL.clone()
    for name, value in fields.items():
        object.__setattr__(model, name, value)  # past the type checks that tests have and users have not
    with refused(*words):
        model.check(LENGTH)


def test_a_call_checks_first():
    with refused("n_heads", "3"):
        jax.eval_shape(SMALL.clone(n_heads=3).init, jax.random.key(0), TOKENS)
    with refused("positions", "5", "6"):
        jax.eval_shape(SMALL.clone(context=5).init, jax.random.key(0), TOKENS)


def test_inputs_may_be_longer_than_the_context_where_positions_are_not_learned():
    SMALL.clone(context=5, positions="rotary").check(LENGTH)


def test_a_token_sees_its_own_document_alone():
    documents = jnp.array([[1, 1, 2, 2, 2, 0], [3, 3, 3, 1, 1, 1]])
    seen = influence(SMALL)(documents[:1].repeat(2, axis=0)) > 0
    same = np.equal.outer(np.asarray(documents[0]), np.asarray(documents[0]))
    np.testing.assert_array_equal(seen, np.tril(same))
    variables = draw(SMALL)
    apart = SMALL.apply(variables, TOKENS, documents)
    together = SMALL.apply(variables, TOKENS, (documents > 0).astype(int))
    np.testing.assert_allclose(apart[:, :2], together[:, :2], rtol=1e-5, atol=1e-6)
    assert jnp.all(jnp.any(apart[:, 3:5] != together[:, 3:5], axis=-1))
