"""Dead units: those that are planted are counted, and no others."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from refusals import refused

from lab.probes.dead_units import dead_units
from lab.tasks.next_token import NextToken
from models.mlp import MLP

TASK = NextToken(context=4)
BATCH = {"tokens": jax.random.randint(jax.random.key(0), (32, 5), 0, 256)}


def network(activation: str, bias: float, units: int = 4) -> tuple[MLP, Any]:
    """An MLP of two layers of 16, in whose first so many units have this bias."""
    model = MLP(input_shape=(4,), widths=(16, 16), outputs=256, activation=activation, vocab_size=256, embedding_dim=8)
    variables = model.init(jax.random.key(1), *TASK.inputs(BATCH))
    up = variables["params"]["layer_0"]["up"]
    up["bias"] = jnp.asarray(up["bias"]).at[:units].set(bias)
    return model, variables


@pytest.mark.parametrize(
    ("activation", "bias", "dead"),
    [
        ("relu", -100.0, 0.25),
        ("relu", 0.0, 0.0),
        ("leaky_relu", -100.0, 0.0),
        ("gelu", -100.0, 0.25),
        ("gelu", -1.0, 0.0),
    ],
)
def test_planted_units_are_counted(activation, bias, dead):
    found = dead_units(TASK, *network(activation, bias), BATCH)
    assert found == {"layer_0": pytest.approx(dead), "layer_1": 0.0}


def test_a_unit_that_lives_at_one_position_is_not_dead():
    model, variables = network("relu", -100.0)
    kernel = variables["params"]["layer_0"]["up"]["kernel"]
    embedding = variables["params"]["token_embedding"]["embedding"]
    first = jnp.concatenate([embedding[token] for token in BATCH["tokens"][0, :4]])
    variables["params"]["layer_0"]["up"]["kernel"] = jnp.asarray(kernel).at[:, 0].set(200 * first / (first @ first))
    assert dead_units(TASK, model, variables, BATCH)["layer_0"] == pytest.approx(3 / 16)


@pytest.mark.parametrize("activation", ["swiglu", "prelu"])
def test_slopes_must_be_functions_of_one_input(activation):
    model, variables = network("relu", 0.0)
    with refused("activation", activation):
        dead_units(TASK, model.clone(activation=activation), variables, BATCH)


def test_shares_of_a_network_that_diverged_are_nan():
    model, variables = network("relu", 0.0)
    found = dead_units(TASK, model, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), variables), BATCH)
    assert found == {"layer_0": pytest.approx(jnp.nan, nan_ok=True), "layer_1": pytest.approx(jnp.nan, nan_ok=True)}
