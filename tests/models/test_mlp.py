"""The multilayer perceptron and its hidden layers: what they compute, how wide they are, how they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from models.activations import activation
from models.layers.feedforward import matched_width
from models.layers.hidden import matched_widths, unit_norm
from models.mlp import MLP

SMALL = MLP(input_shape=(3, 2), widths=(5, 4), outputs=3)
X = jax.random.normal(jax.random.key(1), (7, 3, 2))


def drawn(model, x=X, seed=0):
    """Variables with biases that are not zero."""
    return jax.tree.map(lambda leaf: leaf + 0.1, model.init(jax.random.key(seed), x))


def parameters(model):
    shape = jax.ShapeDtypeStruct((1, *model.input_shape), jnp.int32 if model.vocab_size else jnp.float32)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), shape)))


@pytest.mark.parametrize("name", ["relu", "reglu"])
def test_it_is_the_formula(name):
    model = SMALL.clone(activation=activation(name))
    variables = drawn(model)
    layers = jax.tree.map(np.asarray, variables["params"])
    x = np.asarray(X).reshape(7, 6)
    for i in (0, 1):
        up, gate = (
            x @ dense["kernel"] + dense["bias"]
            for dense in (layers[f"layer_{i}"]["up"], layers[f"layer_{i}"].get("gate", layers[f"layer_{i}"]["up"]))
        )
        x = gate.clip(0) * (up if name == "reglu" else 1)
    expected = x @ layers["head"]["kernel"] + layers["head"]["bias"]
    np.testing.assert_allclose(model.apply(variables, X), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_all_axes_before_the_input_are_examples():
    variables = drawn(SMALL)
    together = SMALL.apply(variables, jnp.stack([X, 2 * X]))
    np.testing.assert_allclose(together[1], SMALL.apply(variables, 2 * X), rtol=1e-5)


def test_tokens_are_read_through_one_table():
    model = MLP(input_shape=(3,), widths=(5,), outputs=2, vocab_size=11, embedding_dim=4)
    words = jnp.array([[1, 2, 10], [10, 2, 1]])
    variables = drawn(model, words)
    table = variables["params"]["token_embedding"]["embedding"]
    assert table.shape == (11, 4)
    on_vectors = MLP(input_shape=(3, 4), widths=(5,), outputs=2)
    rest = {"params": {name: tree for name, tree in variables["params"].items() if name != "token_embedding"}}
    np.testing.assert_allclose(model.apply(variables, words), on_vectors.apply(rest, table[words]), rtol=1e-5)


def test_a_seed_gives_the_same_weights_whatever_the_activation():
    first, second = (SMALL.clone(activation=activation(name)).init(jax.random.key(3), X) for name in ("relu", "elu"))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    gated = SMALL.clone(activation=activation("swiglu"), match="width").init(jax.random.key(3), X)
    np.testing.assert_array_equal(
        gated["params"]["layer_0"]["up"]["kernel"], first["params"]["layer_0"]["up"]["kernel"]
    )
    assert (gated["params"]["layer_0"]["gate"]["kernel"] != gated["params"]["layer_0"]["up"]["kernel"]).all()


@pytest.mark.parametrize("shape", [(6, 5), (3, 3, 4, 5)])
def test_incoming_weights_of_every_unit_have_norm_1(shape):
    kernel = np.asarray(unit_norm(jax.random.key(0), shape)).reshape(-1, shape[-1])
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)
    assert np.abs(kernel.mean()) < 0.2


def test_all_kernels_are_drawn_as_asked():
    for kernel in (leaf for leaf in jax.tree.leaves(SMALL.init(jax.random.key(0), X)["params"]) if leaf.ndim == 2):
        np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)
    other = SMALL.clone(initialization="lecun").init(jax.random.key(0), X)["params"]["head"]["kernel"]
    assert np.abs(np.linalg.norm(other, axis=0) - 1).max() > 0.05


def test_dropout_falls_on_every_hidden_value_in_training_alone():
    model = SMALL.clone(dropout=0.5, activation=activation("identity"))
    variables = drawn(model)
    np.testing.assert_array_equal(model.apply(variables, X), model.clone(dropout=0.0).apply(variables, X))

    def output(key):
        return model.apply(variables, X, train=True, rngs={"dropout": jax.random.key(key)})

    assert (output(0) != output(1)).any()
    mean = jax.vmap(output)(jnp.arange(600)).mean(axis=0)
    np.testing.assert_allclose(mean, model.apply(variables, X), atol=0.5)
    told = model.clone(dropout=0.9999).apply(variables, X, train=True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_allclose(told, np.broadcast_to(variables["params"]["head"]["bias"], told.shape))


def test_learned_parameters_are_each_layers_own():
    model = SMALL.clone(activation=activation("prelu"))
    variables = model.init(jax.random.key(0), X)
    gradient = jax.grad(lambda given: jnp.sum(model.apply(given, X) ** 2))(variables)["params"]
    slopes = [float(gradient[f"layer_{i}"]["activation_slope"]) for i in (0, 1)]
    assert slopes[0] != slopes[1]
    assert all(slopes)


def test_hidden_values_are_kept_where_they_are_asked_for():
    variables = drawn(SMALL)
    _, kept = SMALL.apply(variables, X, mutable=["intermediates"])
    assert [kept["intermediates"][f"layer_{i}"]["hidden"][0].shape for i in (0, 1)] == [(7, 5), (7, 4)]


WIDTHS = st.lists(st.integers(20, 300), min_size=1, max_size=8)


@settings(max_examples=8, deadline=None)
@given(inputs=st.integers(20, 300), widths=WIDTHS, outputs=st.integers(2, 300))
def test_gated_networks_have_the_parameters_of_plain_ones(inputs, widths, outputs):
    plain = MLP(input_shape=(inputs,), widths=tuple(widths), outputs=outputs)
    gated = plain.clone(activation=activation("swiglu"))
    np.testing.assert_allclose(parameters(gated), parameters(plain), rtol=0.06)  # by rounding: half of a width of 13
    assert plain.hidden_widths == plain.widths


@pytest.mark.parametrize("match", ["parameters", "flops", "width"])
def test_one_hidden_layer_between_equal_widths_is_as_wide_as_a_feed_forward_layer(match):
    gated = activation("geglu")
    expected = matched_width(300, gated, match, 1, 100, bias=False)
    assert matched_widths(100, [300], 100, gated, "flops" if match == "parameters" else match) == (expected,)


def test_many_layers_shrink_by_the_root_of_two():
    (width,) = set(matched_widths(1000, [1000] * 60, 1000, activation("reglu"), "flops"))
    assert abs(width / 1000 - 2**-0.5) < 0.005


def test_the_bottleneck_of_an_autoencoder_keeps_its_place():
    model = MLP(widths=(1000, 500, 250, 30, 250, 500, 1000), outputs=784, activation="reglu")
    assert model.hidden_widths == (691, 345, 173, 21, 173, 345, 691)
    assert parameters(model) == 2_837_746
    assert parameters(model.clone(activation=activation("relu"))) == 2_837_314


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"match": "params"}, ("match", "'params'", "'parameters'")),
        ({"initialization": "unit"}, ("initialization", "'unit'")),
        ({"input_shape": ()}, ("input_shape", "()")),
        ({"widths": (4, 0)}, ("widths", "(4, 0)")),
        ({"outputs": 0}, ("outputs", "0")),
        ({"vocab_size": -1}, ("vocab_size", "-1")),
        ({"dropout": 1.0}, ("dropout", "1.0")),
    ],
)
def test_bad_fields_are_refused(fields, words):
    model = SMALL.clone()
    for name, value in fields.items():
        object.__setattr__(model, name, value)  # past the type checks that tests have and users have not
    with refused(*words):
        model.check()


def test_an_input_that_does_not_fit_is_refused():
    with refused("input", "(7, 2, 3)", "(..., 3, 2)"):
        SMALL.init(jax.random.key(0), X.reshape(7, 2, 3))
    SMALL.check(3)
    with refused("5", "input_shape", "(3, 2)"):
        SMALL.check(5)


def test_a_norm_is_that_of_every_hidden_layers_input():
    model = SMALL.clone(norm="rmsnorm")
    variables = model.init(jax.random.key(0), X)
    assert all("scale" in variables["params"][f"layer_{i}"]["norm"] for i in (0, 1))
    np.testing.assert_allclose(model.apply(variables, 100 * X), model.apply(variables, X), rtol=1e-3)


def test_a_stochastic_activation_draws_in_training_only():
    model = SMALL.clone(activation=activation("soi"))
    variables = model.init(jax.random.key(0), X)
    exact = SMALL.clone(activation=activation("gelu")).apply(variables, X)
    np.testing.assert_array_equal(model.apply(variables, X), exact)
    one, same, other = (
        model.apply(variables, X, train=True, rngs={"dropout": jax.random.key(key)}) for key in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert (one != exact).any()


@pytest.mark.parametrize("name", ["relu", "reglu"])
def test_without_hidden_layers_it_is_linear(name):
    model = SMALL.clone(widths=(), activation=name)
    variables = drawn(model)
    head = jax.tree.map(np.asarray, variables["params"]["head"])
    assert set(variables["params"]) == {"head"}
    expected = np.asarray(X).reshape(7, 6) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(model.apply(variables, X), expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "gain"), [("relu", 2**0.5), ("gelu", 2**0.5), ("tanh", 5 / 3), ("identity", 1)])
def test_kaiming_is_uniform_with_the_gain_of_the_activation_and_of_none_at_the_end(name, gain):
    model = MLP(input_shape=(30,), widths=(4000,), outputs=50, activation=name, initialization="kaiming")
    params = model.init(jax.random.key(0), jnp.zeros((1, 30)))["params"]
    for kernel, bound in ((params["layer_0"]["up"], gain * (3 / 30) ** 0.5), (params["head"], (3 / 4000) ** 0.5)):
        found = np.abs(kernel["kernel"])
        assert found.max() == pytest.approx(bound, rel=1e-3)
        assert np.mean(found) == pytest.approx(bound / 2, rel=0.01)
