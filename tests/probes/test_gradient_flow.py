"""Gradient flow: the closed form against its table and against networks, and Jacobians against jax.jacobian."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from refusals import refused

from lab.probes.gradient_flow import chi, layer_gains, negative_inputs, partial_jacobians
from lab.tasks.classification import TextClassification
from lab.tasks.language import CausalLanguage
from models.activations import Activation, activation
from models.classifier import Classifier
from models.convnet import ConvNet
from models.layers.scanned import stacked
from models.mlp import MLP
from models.transformer import Transformer
from models.wide_resnet import WideResNet

TABLE = {
    "relu": 1.000, "gelu": 1.072, "silu": 1.067, "mish": 1.059, "tanh": 1.178, "relu2": 1.333, "leaky_relu2": 1.333,
    "xielu": 1.193, "golu": 1.087, "elu": 1.036, "selu": 1.072, "softplus": 0.318, "sigmoid": 0.153,
}  # fmt: skip
X = jnp.ones((1, 2))
TOKENS = jnp.arange(12).reshape(2, 6) % 7
SIZES = {"vocab_size": 7, "context": 6, "d_model": 8, "n_heads": 2, "initialization": "lecun"}
SMALL = Transformer(**SIZES, n_layers=3)


@pytest.mark.parametrize("name", TABLE)
def test_the_closed_form_is_that_of_the_table(name):
    assert chi(name) == pytest.approx(TABLE[name], abs=5.1e-4)


def test_the_closed_form_is_exact_where_it_is_known():
    assert chi("relu") == pytest.approx(1, abs=1e-7)
    assert chi("abs") == pytest.approx(1, abs=1e-7)
    assert chi("relu2") == pytest.approx(4 / 3, abs=1e-6)
    assert chi("leaky_relu2", constant=jnp.float32(1)) == pytest.approx(4 / 3, abs=1e-6)
    assert chi("gelu", std=1e-3) == pytest.approx(1, abs=1e-5)  # a line through 0
    assert chi("relu", width=100) == pytest.approx(1 + (6 - 2) / 100, abs=1e-6)
    kinked = Activation("kinked", lambda x: jnp.where(x <= 0.3333, 0.0, x))
    z = np.linspace(0.3333, 12, 400_001)
    density = np.exp(-(z**2) / 2)
    assert chi(kinked) == pytest.approx(np.trapezoid(density, z) / np.trapezoid(z**2 * density, z), rel=5e-4)


def test_both_slopes_of_a_gated_activation_count():
    for gated, gate in (("reglu", "relu"), ("swiglu", "silu"), ("geglu", "gelu")):
        assert chi(gated) == pytest.approx(1 + chi(gate), abs=1e-4)
    with refused("softmax"):
        chi("softmax")
    with refused("polynorm_glu"):
        chi("polynorm_glu")


@pytest.mark.parametrize("name", slow_but(["relu", "gelu"], TABLE))
def test_a_wide_network_has_the_gain_of_the_closed_form(name):
    """At init, RMSNorm before each layer, no residual; within four standard errors of 8 draws, and 6 %."""
    width = 256
    model = MLP(
        input_shape=(width,), widths=(width,) * 5, norm="rmsnorm", initialization="lecun", activation=activation(name)
    )
    init, draws = jax.jit(model.init), []
    for seed in range(8):
        keys = jax.random.split(jax.random.key(seed), 3)
        x = jax.random.normal(keys[0], (8, width))
        draws.append(layer_gains(model, init(keys[1], x), x, key=keys[2])[1:].mean())  # the first reads no activation
    error = np.std(draws, ddof=1) / len(draws) ** 0.5
    assert abs(np.mean(draws) - chi(name, width=width)) < min(4 * error, 0.06 * chi(name))


def test_partial_jacobians_are_those_of_jax():
    model = MLP(input_shape=(3,), widths=(5, 4), outputs=2, activation="tanh")
    x = jax.random.normal(jax.random.key(0), (1, 3))
    variables = model.init(jax.random.key(1), x)
    kernels = [variables["params"][f"layer_{i}"]["up"]["kernel"] for i in (0, 1)]

    def hidden(x, first=0):
        for kernel in kernels[first:]:
            x = jnp.tanh(x @ kernel)
        return x

    h = jnp.tanh(x @ kernels[0])
    expected = [(jax.jacobian(hidden)(x) ** 2).sum() / 4, (jax.jacobian(lambda h: hidden(h, 1))(h) ** 2).sum() / 4, 1]
    found = partial_jacobians(model, variables, x, key=jax.random.key(2), cotangents=20_000)
    np.testing.assert_allclose(found, expected, rtol=0.03)
    first = (jax.jacobian(lambda x: jnp.tanh(x @ kernels[0]))(x) ** 2).sum() / 5
    alone = layer_gains(model, variables, x, key=jax.random.key(2), cotangents=20_000)
    np.testing.assert_allclose(alone, [first, expected[1]], rtol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_partial_jacobians_of_a_transformer_are_those_of_jax_scanned_or_not(scan):
    """h^0 are the rows of the embedding, as all tokens differ; a network of the last block alone reads h^1 as such."""
    tokens = jnp.arange(6)[None]
    model = Transformer(**SIZES, n_layers=2, positions="rotary", final_norm=False)
    params = model.init(jax.random.key(0), tokens)["params"]

    def last(model, params, table):
        given = {**params, "token_embedding": {"embedding": table}}
        _, sown = model.apply({"params": given}, tokens, mutable=["intermediates"])
        return sown["intermediates"]["last_hidden_state"][0]

    table = params["token_embedding"]["embedding"]
    _, sown = model.apply({"params": params}, tokens, capture_intermediates=True)
    middle = jnp.concatenate([sown["intermediates"]["layer_0"]["__call__"][0][0], table[6:]])
    top = {"layer_0": params["layer_1"]}
    expected = [
        jnp.square(jax.jacobian(lambda table: last(model, params, table))(table)).sum() / 48,
        jnp.square(jax.jacobian(lambda table: last(model.clone(n_layers=1), top, table))(middle)).sum() / 48,
        1,
    ]
    given = {"params": stacked(params) if scan else params}
    measured = model.clone(scan=scan, remat=scan)
    found = partial_jacobians(measured, given, tokens, key=jax.random.key(1), cotangents=4000)
    np.testing.assert_allclose(found, expected, rtol=0.03)
    alone = layer_gains(measured, given, tokens, key=jax.random.key(2), cotangents=4000)
    np.testing.assert_allclose(alone[1], expected[1], rtol=0.03)


def test_without_layers_outputs_the_residual_stream_passes_and_without_a_residual_nothing_does():
    def muted(path, leaf):
        return jnp.zeros_like(leaf) if path[-2].key in ("down", "output") else leaf

    for residual, gain in (("sequential", 1.0), ("none", 0.0)):
        model = SMALL.clone(residual=residual)
        variables = jax.tree_util.tree_map_with_path(muted, model.init(jax.random.key(0), TOKENS))
        gains = layer_gains(model, variables, TOKENS, key=jax.random.key(1), cotangents=2000)
        np.testing.assert_allclose(gains, gain, atol=0.03)


@pytest.mark.parametrize(
    ("model", "x", "layers"),
    [
        (ConvNet(widths=(2, 3), kernels=(3, 3), padding=(1, 1), pool_after=(1,)), jnp.ones((2, 8, 8, 3)), 2),
        (WideResNet(depth=10, widening=1, stem=2), jnp.ones((2, 8, 8, 3)), 5),
    ],
    ids=["convnet", "wide_resnet"],
)
@pytest.mark.slow
def test_layers_of_convolutional_networks(model, x, layers):
    found = partial_jacobians(model, model.init(jax.random.key(0), x), x, key=jax.random.key(1))
    assert len(found) == layers + 1
    assert np.isfinite(found).all()


class Wrapped(nn.Module):
    """A network of one's own around a loop over layers."""

    @nn.compact
    def __call__(self, tokens):
        return Transformer(**SIZES, n_layers=3, scan=True, name="inner")(tokens)


def test_layers_of_a_loop_inside_a_network_of_ones_own_are_told_apart():
    model, key = SMALL.clone(scan=True), jax.random.key(1)
    params = model.init(jax.random.key(0), TOKENS)["params"]
    for probe in (partial_jacobians, layer_gains):
        found = probe(Wrapped(), {"params": {"inner": params}}, TOKENS, key=key)
        np.testing.assert_allclose(found, probe(model, {"params": params}, TOKENS, key=key), rtol=1e-4)


def test_a_network_without_known_layers_is_refused():
    with refused("Dense"):
        partial_jacobians(nn.Dense(3), nn.Dense(3).init(jax.random.key(0), X), X, key=jax.random.key(1))


@pytest.mark.parametrize(("name", "lost"), [("gelu", 1), ("geglu", 1), ("identity", 0)])
def test_the_gradient_is_lost_where_inputs_are_very_negative(name, lost):
    model, task = SMALL.clone(activation=activation(name)), CausalLanguage(context=6)
    variables = model.init(jax.random.key(0), TOKENS)
    dense = variables["params"]["layer_1"]["feedforward"]["gate" if name == "geglu" else "up"]
    dense["kernel"], dense["bias"] = 0.01 * dense["kernel"], dense["bias"] - 8 + 0.9 * (name == "identity")
    batch = {"tokens": np.arange(14).reshape(2, 7) % 7}
    rows = {row["layer"]: row for row in negative_inputs(task, model, variables, batch)}
    assert list(rows) == [f"layer_{i}/feedforward" for i in range(3)]
    row = rows["layer_1/feedforward"]
    assert row["share_below"] == row["arriving"] == 1
    assert row["lost"] == pytest.approx(lost, abs=1e-3)
    assert row["mean"] == pytest.approx(-8 + 0.9 * (name == "identity"), abs=0.1)
    assert rows["layer_0/feedforward"]["share_below"] < 0.1
    assert negative_inputs(task, model, variables, batch, below=-20.0)[1]["arriving"] == 0


def test_no_share_is_known_of_inputs_that_are_nan():
    variables = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), SMALL.init(jax.random.key(0), TOKENS))
    batch = {"tokens": np.arange(14).reshape(2, 7) % 7}
    rows = negative_inputs(CausalLanguage(context=6), SMALL, variables, batch)
    assert np.isnan([row["share_below"] for row in rows]).all()


def test_padding_counts_neither_as_an_input_nor_as_a_gradient():
    model = Classifier(**SIZES, n_layers=1, classes=3)
    variables = model.init(jax.random.key(0), TOKENS)
    variables["params"]["layer_0"]["feedforward"]["up"]["kernel"] *= 4
    task = TextClassification(context=6, classes=3)
    mask = np.arange(6)[None] < np.array([[4], [4]])
    batch = {"tokens": np.asarray(TOKENS), "mask": mask, "label": np.array([0, 2])}
    (padded,) = negative_inputs(task, model, variables, batch, below=-1.0)
    short = {**batch, "tokens": batch["tokens"][:, :4], "mask": mask[:, :4]}
    (own,) = negative_inputs(task, model, variables, short, below=-1.0)
    assert 0 < own["share_below"] < 1
    assert padded.pop("layer") == own.pop("layer")
    assert padded == pytest.approx(own, rel=1e-4)
