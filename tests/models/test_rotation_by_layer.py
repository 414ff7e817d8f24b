"""Rotary bases that differ by layer, norms of outputs, and norms of the queries and keys of all heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.positions import RopeScaling
from models.layers.scanned import stacked
from models.transformer import Transformer

TOKENS = jnp.array([[3, 1, 4, 1, 5, 9, 2, 6]])
MODEL = Transformer(
    **{"vocab_size": 11, "context": 16, "d_model": 16, "n_layers": 3, "n_heads": 2, "d_ff": 24, "init_std": 0.4},
    **{"positions": "rotary", "rope_theta": 50.0},
)


def output(model, params=None):
    params = model.init(jax.random.key(0), TOKENS)["params"] if params is None else params
    return model.apply({"params": params}, TOKENS)


def test_bases_of_which_all_are_the_usual_change_nothing_and_another_does():
    usual = output(MODEL)
    np.testing.assert_array_equal(output(MODEL.clone(rope_thetas=(50.0, 50.0))), usual)
    assert jnp.abs(output(MODEL.clone(rope_thetas=(50.0, 9.0))) - usual).max() > 1e-3


def test_layers_of_base_0_know_no_positions():
    unplaced = output(MODEL.clone(positions="none"))
    np.testing.assert_allclose(output(MODEL.clone(rope_thetas=(0.0,))), unplaced, rtol=1e-5, atol=1e-5)


def test_scaling_holds_for_the_usual_base_alone():
    scaled = MODEL.clone(rope_scaling=RopeScaling("linear", 4.0))
    other = {"rope_thetas": (9.0,)}
    np.testing.assert_array_equal(output(scaled.clone(**other)), output(MODEL.clone(**other)))
    assert jnp.abs(output(scaled) - output(MODEL)).max() > 1e-3


def test_scanned_layers_have_each_their_own():
    fields = {"rope_thetas": (50.0, 0.0, 9.0), "windows": (3, 0, 2), "placement": "output", "joint_qk_norm": True}
    model = MODEL.clone(**fields)
    params = model.init(jax.random.key(0), TOKENS)["params"]
    found = output(model.clone(scan=True), stacked(params))
    np.testing.assert_allclose(found, output(model, params), rtol=1e-4, atol=1e-5)


def test_the_norm_of_all_heads_is_as_wide_as_they_are_and_outputs_alone_are_normalized():
    model = MODEL.clone(joint_qk_norm=True, placement="output", n_kv_heads=1, norm="rmsnorm")
    params = jax.eval_shape(model.init, jax.random.key(0), TOKENS)["params"]["layer_0"]
    assert params["attention"]["query_norm"]["scale"].shape == (16,)
    assert params["attention"]["key_norm"]["scale"].shape == (8,)
    assert {name for name in params if name.endswith("norm")} == {"attention_output_norm", "feedforward_output_norm"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rope_thetas": (1.0, -2.0)}, "rope_thetas"),
        ({"qk_norm": True, "joint_qk_norm": True}, "joint_qk_norm"),
        ({"norm": "none", "joint_qk_norm": True}, "joint_qk_norm"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        MODEL.clone(**fields).check()
