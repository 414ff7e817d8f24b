"""Dead units: in closed form, and counted as NumPy counts them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

from lab.probes.dying import born_dead, born_dead_of_one_sign, unit_shares
from models.layers.telemetry import DORMANT
from models.mlp import MLP
from models.transformer import Transformer

DRAWS = 4_000


def near(count, expected):
    """Whether a share of draws is the expected one, within four standard errors."""
    error = np.sqrt(expected * (1 - expected) / DRAWS)
    return abs(count / DRAWS - expected) <= 4 * error


@pytest.mark.parametrize("name", ["relu", "relu2", "reglu"])
@pytest.mark.parametrize(("width", "layers"), [(2, 9), (4, 9), (1, 3)])
def test_at_one_sign_the_share_that_is_dead_is_the_closed_form(name, width, layers):
    dead = born_dead(name, width, layers, DRAWS)
    assert near(dead[:, 0].sum(), born_dead_of_one_sign(width, layers))
    assert near(dead[:, 1].sum(), born_dead_of_one_sign(width, layers))
    assert dead.all(axis=1).mean() <= dead.mean(axis=0).min()


@pytest.mark.parametrize("layers", [2, 4])
def test_networks_of_one_unit_a_layer_are_born_dead_if_any_later_weight_is_negative(layers):
    """One of the two signs passes the first layer, and each later one with probability 1/2."""
    assert near(born_dead("relu", 1, layers, DRAWS).all(axis=1).sum(), 1 - 2.0 ** -(layers - 1))


@pytest.mark.parametrize("width", [2, 3])
def test_two_layers_are_born_dead_as_often_as_counted(width):
    """Each unit of the first layer is on at one sign. If all are on at the same one, the second layer is off there with
    probability 2^-N; else the two signs are read by different weights, and both are off with 4^-N."""
    same = 2 * 0.5**width
    assert near(born_dead("relu", width, 2, DRAWS).all(axis=1).sum(), same * 2.0**-width + (1 - same) * 4.0**-width)


@pytest.mark.parametrize("name", ["gelu", "leaky_relu", "swiglu", "prelu"])
def test_no_network_whose_units_say_something_of_negative_inputs_is_born_dead(name):
    assert not born_dead(name, 2, 9, 500).any()


@pytest.mark.parametrize("name", ["relu", "gelu", "reglu", "geglu"])
def test_units_are_counted_as_in_numpy(name):
    model = MLP(input_shape=(6,), widths=(12, 9), outputs=2, activation=name, initialization="lecun", match="width")
    x = jax.random.normal(jax.random.key(1), (40, 6))
    params = jax.tree.map(np.array, model.init(jax.random.key(0), x)["params"])
    gate = "gate" if name.endswith("glu") else "up"
    params["layer_0"][gate]["bias"][:3] = -30.0  # off: with ReLU dead, with GELU as good as
    params["layer_1"]["up"]["kernel"][:, 4] *= 1e-4  # small
    params["layer_1"]["up"]["bias"][4] = 0.0
    rows = unit_shares(model, {"params": params}, x)
    h = np.asarray(x, np.float64)
    f = (lambda z: z.clip(0)) if name in ("relu", "reglu") else lambda z: np.asarray(nn.gelu(z, approximate=False))
    for row, layer in zip(rows, ("layer_0", "layer_1"), strict=True):
        z = h @ params[layer][gate]["kernel"] + params[layer][gate]["bias"]
        value = h @ params[layer]["up"]["kernel"] + params[layer]["up"]["bias"] if gate == "gate" else 1.0
        h = f(z) * value
        size = np.abs(h).mean(axis=0)
        assert row["layer"] == layer
        assert row["off"] == pytest.approx((z <= 0).all(axis=0).mean())
        assert row["dormant"] == pytest.approx((size <= DORMANT * size.mean()).mean())
        if name in ("relu", "reglu"):
            assert row["dead"] == pytest.approx((h == 0).all(axis=0).mean())
    assert rows[0]["off"] >= 3 / 12
    assert rows[1]["dormant"] >= 1 / 9


def test_all_layers_of_a_decoder_are_counted_even_if_they_are_scanned():
    model = Transformer(vocab_size=256, context=8, d_model=16, n_layers=3, activation="relu", initialization="lecun")
    tokens = jnp.arange(16).reshape(2, 8)
    for one in (model, model.clone(scan=True)):
        rows = unit_shares(one, one.init(jax.random.key(0), tokens), tokens)
        assert [row["layer"] for row in rows] == [f"layer_{i}/feedforward" for i in range(3)]
        assert all(0 <= row["dead"] <= row["off"] <= 1 for row in rows)


def test_shares_of_a_network_that_diverged_are_nan():
    model = MLP(input_shape=(6,), widths=(12, 9), outputs=2, activation="relu")
    x = jnp.ones((4, 6))
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), model.init(jax.random.key(0), x))
    for row in unit_shares(model, broken, x):
        assert np.isnan([row[name] for name in ("dead", "dormant", "off")]).all()


class Bare(nn.Module):
    """No feed-forward layers of ours."""

    activation: str = "relu"

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


def test_a_model_without_units_is_refused():
    x = jnp.ones((2, 3))
    with refused("Bare"):
        unit_shares(Bare(), Bare().init(jax.random.key(0), x), x)
