"""The feed-forward layer: what it computes, how wide it is, and that it is written as a CPU likes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import slow_but

from models.activations import activation
from models.layers.dense import Dense
from models.layers.feedforward import FeedForward, matched_width, second_moment
from models.transformer import Transformer

X = jax.random.normal(jax.random.key(1), (2, 3, 8))


def size(name: str, d_ff: int, d_model: int, bias: bool) -> int:
    model = FeedForward(activation(name), d_ff, bias)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, d_model), jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 200), st.integers(1, 50), st.booleans())
def test_no_other_gated_width_has_nearer_to_the_plain_parameters(d_ff, d_model, bias):
    width = matched_width(d_ff, activation("swiglu"), "parameters", 1, d_model, bias)
    plain = size("relu", d_ff, d_model, bias)
    distance = {w: abs(size("swiglu", w, d_model, bias) - plain) for w in (width - 1, width, width + 1) if w}
    assert distance[width] == min(distance.values())


@pytest.mark.parametrize(
    ("name", "match", "multiple", "width"),
    [
        ("gelu", "parameters", 64, 250),
        ("swiglu", "flops", 1, 167),
        ("swiglu", "flops", 64, 192),
        ("swiglu", "flops", 512, 512),
        ("swiglu", "width", 64, 250),
    ],
)
def test_widths_at_d_ff_250(name, match, multiple, width):
    assert matched_width(250, activation(name), match, multiple, 100, True) == width


@pytest.mark.parametrize("name", ["relu", "reglu"])
def test_it_is_the_formula(name):
    model = FeedForward(activation(name), 5, kernel_init=jax.nn.initializers.normal(1.0))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, model.init(jax.random.key(0), X))
    dense = {k: (np.asarray(v["kernel"]), np.asarray(v["bias"])) for k, v in variables["params"].items()}
    x = np.asarray(X)
    up = x @ dense["up"][0] + dense["up"][1]
    hidden = up.clip(0) if name == "relu" else (x @ dense["gate"][0] + dense["gate"][1]).clip(0) * up
    expected = hidden @ dense["down"][0] + dense["down"][1]
    np.testing.assert_allclose(model.apply(variables, X), expected, rtol=1e-4, atol=1e-5)


def test_learned_parameters_are_the_layers_own_and_are_trained():
    model = FeedForward(activation("prelu"), 5, dtype="bfloat16")
    params = model.init(jax.random.key(0), X)["params"]
    gradient = jax.grad(lambda params: model.apply({"params": params}, X).astype(jnp.float32).sum())(params)
    learned = {name for name in params if name.startswith("activation_")}
    assert learned == {f"activation_{name}" for name, _ in activation("prelu").parameters}
    assert all(params[name].dtype == jnp.float32 for name in learned)
    assert all(jnp.all(gradient[name] != 0) for name in learned)


def test_hidden_values_are_seen_when_asked_for():
    model = FeedForward(activation("relu"), 5)
    variables = model.init(jax.random.key(0), X)
    _, seen = model.apply(variables, X, mutable=["intermediates"])
    assert set(variables) == {"params"}
    assert seen["intermediates"]["hidden"][0].shape == (2, 3, 5)


def test_every_product_and_its_gradients_contract_one_axis():
    model = Dense(5)
    params = model.init(jax.random.key(0), X)
    traced = jax.make_jaxpr(jax.grad(lambda params, x: model.apply(params, x).sum(), argnums=(0, 1)))(params, X)
    products = [e.params["dimension_numbers"][0] for e in traced.eqns if e.primitive.name == "dot_general"]
    assert len(products) == 3
    assert all(len(axes) == 1 for contracted in products for axes in contracted)


# E f(z)^2 of z ~ N(0, 1), by numerical integration; a gated unit's value is independent with unit variance.
@pytest.mark.parametrize(
    ("name", "moment"), [("relu", 0.5), ("gelu", 0.425221), ("silu", 0.355776), ("relu2", 1.5), ("geglu", 0.425221)]
)
def test_second_moment_is_the_integral(name, moment):
    assert second_moment(activation(name), 1.0) == pytest.approx(moment, rel=0.01)


@pytest.mark.parametrize("initialization", slow_but(["gpt2"], ["gpt2", "truncated", "lecun", "xavier"]))
@pytest.mark.parametrize("name", ["relu2", "swiglu"])
def test_matched_variance_gives_every_activation_gelus_output_variance(initialization, name):
    def variance(activation: str, match: bool) -> float:
        fields = {"d_model": 128, "d_ff": 512, "initialization": initialization, "match_variance": match, "bias": False}
        layer = Transformer(activation=activation, **fields).block("block", False).feedforward
        x = jax.random.normal(jax.random.key(2), (4096, 128))
        return float(jnp.var(layer.init_with_output(jax.random.key(3), x)[0]))

    assert variance(name, True) == pytest.approx(variance("gelu", False), rel=0.1)
    assert abs(variance(name, False) / variance("gelu", False) - 1) > 0.1
