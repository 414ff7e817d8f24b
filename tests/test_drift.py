"""What two networks differ in is found, where it is and as large as it is; nothing else is."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.stack import stacked
from models.transformer import EncoderDecoder, Transformer
from probes.attribution import attribution
from probes.drift import drift
from probes.swap import swapped

MODEL = Transformer(vocab_size=11, context=8, d_model=16, n_layers=2, n_heads=4, d_ff=24)
ENCODER = MODEL.clone(architecture="encoder", placement="post", embedding_norm=True, token_types=2)
TOKENS = np.random.default_rng(0).integers(0, 11, (2, 8))
MASK = np.array([[1] * 8, [1] * 5 + [0] * 3])
SITES = ("hidden", "output", "residual")


def trained(model, seed=2):
    """Parameters of which none is zero."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0), TOKENS)["params"])
    rng = np.random.default_rng(seed)
    return tree.unflatten([jnp.asarray(rng.normal(0.2, 0.4, leaf.shape), jnp.float32) for leaf in leaves])


def with_down(params, layer, factor):
    """Parameters with another output of one feed-forward layer."""
    scaled = jax.tree.map(lambda leaf: factor * leaf, params[layer]["feedforward"]["down"])
    return {**params, layer: {**params[layer], "feedforward": {**params[layer]["feedforward"], "down": scaled}}}


PARAMS = trained(MODEL)


@pytest.mark.parametrize(
    ("model", "mask"),
    [(MODEL, MASK), (MODEL.clone(scan=True, remat=True), None), (ENCODER, MASK)],
    ids=["decoder", "scanned", "encoder"],
)
def test_a_network_does_not_drift_from_itself(model, mask):
    params = trained(model)
    found = drift(model, params, model, params, TOKENS, mask)
    own = {f"{site}_{metric}": value for site in SITES for metric, value in (("error", 0.0), ("cosine", 1.0))}
    assert found.layers == ({"layer": 0, **own}, {"layer": 1, **own})
    assert (found.kl, found.agreement) == (0.0, 1.0)
    assert found.loss == found.other_loss


def test_a_swap_is_found_where_it_takes_effect():
    params = with_down(PARAMS, "layer_0", 0.0)
    first, second = drift(MODEL, params, *swapped(MODEL, params, "relu"), TOKENS).layers
    assert first["hidden_error"] > 0.01
    assert first["output_error"] == first["residual_error"] == second["layer"] - 1 == 0
    assert min(second[f"{site}_error"] for site in SITES) > 0.01
    assert max(second[f"{site}_cosine"] for site in SITES) < 1


def test_an_output_of_twice_the_size_is_off_by_all_of_it():
    first, second = drift(MODEL, PARAMS, MODEL, with_down(PARAMS, "layer_1", 2.0), TOKENS, MASK).layers
    assert set(itertools.chain(first.values(), (second["hidden_error"],))) == {0, 1}
    np.testing.assert_allclose((second["output_error"], second["output_cosine"]), 1.0, rtol=1e-6)
    assert 0 < second["residual_error"] < 1


def test_scanned_layers_give_the_same_rows():
    networks = MODEL, PARAMS, *swapped(MODEL, PARAMS, "silu", "rmsnorm")
    rows = drift(*networks, TOKENS, MASK)
    scanned = [tree if i % 2 else tree.clone(scan=True) for i, tree in enumerate(networks)]
    scanned[1], scanned[3] = stacked(PARAMS), stacked(networks[3])
    for row, other in zip(rows.layers, drift(*scanned, TOKENS, MASK).layers, strict=True):
        np.testing.assert_allclose(list(row.values()), list(other.values()), rtol=1e-5)


def in_numpy(model, params):
    logits = np.asarray(model.apply({"params": params}, TOKENS, MASK), np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("model", [MODEL, ENCODER], ids=["decoder", "encoder"])
def test_what_is_said_of_tokens_is_as_in_numpy(model):
    params = trained(model)
    other, others = swapped(model, params, "relu", "rmsnorm")
    found = drift(model, params, other, others, TOKENS, MASK)
    p, q = in_numpy(model, params), in_numpy(other, others)
    real = MASK == 1
    assert found.kl > 0
    np.testing.assert_allclose(found.kl, (np.exp(p) * (p - q)).sum(-1)[real].mean(), rtol=1e-4)
    np.testing.assert_allclose(found.agreement, (p.argmax(-1) == q.argmax(-1))[real].mean(), rtol=1e-6)
    told = [(0, i, i) for i in range(8)] + [(1, i, i) for i in range(5)]
    if model is MODEL:
        told = [(0, i, i + 1) for i in range(7)] + [(1, i, i + 1) for i in range(4)]
    for loss, x in ((found.loss, p), (found.other_loss, q)):
        np.testing.assert_allclose(loss, -np.mean([x[row, i, TOKENS[row, j]] for row, i, j in told]), rtol=1e-5)


def test_targets_may_be_given():
    targets = np.full_like(TOKENS, -1)
    targets[0, 3] = 7
    found = drift(ENCODER, params := trained(ENCODER), ENCODER, params, TOKENS, MASK, targets)
    np.testing.assert_allclose(found.loss, -in_numpy(ENCODER, params)[0, 3, 7], rtol=1e-5)


def test_the_kl_of_close_networks_is_not_lost_in_rounding():
    others = {**PARAMS, "final_norm": {**PARAMS["final_norm"], "bias": PARAMS["final_norm"]["bias"] + 1e-4}}
    found = drift(MODEL, PARAMS, MODEL, others, TOKENS, MASK)
    p, q = in_numpy(MODEL, PARAMS), in_numpy(MODEL, others)
    expected = (np.exp(p) * (p - q)).sum(-1)[MASK == 1].mean()
    assert 0 < expected < 1e-6
    np.testing.assert_allclose(found.kl, expected, rtol=0.05)


def test_padding_has_no_influence():
    params = trained(ENCODER)
    networks = ENCODER, params, *swapped(ENCODER, params, "relu", "rmsnorm")
    padded = np.where(MASK == 1, TOKENS, (TOKENS + 1) % 11)
    one, other = (drift(*networks, tokens, MASK) for tokens in (TOKENS, padded))
    assert [list(row.values()) for row in one.layers] == [list(row.values()) for row in other.layers]
    assert dataclasses.replace(one, layers=()) == dataclasses.replace(other, layers=())


def test_the_interaction_is_what_both_do_beyond_each():
    rows = attribution(MODEL, PARAMS, "relu", "rmsnorm", TOKENS, MASK)
    norm, activation, both, interaction = rows
    assert [row["change"] for row in rows] == ["norm", "activation", "both", "interaction"]
    alone = drift(MODEL, PARAMS, *swapped(MODEL, PARAMS, norm="rmsnorm"), TOKENS, MASK)
    assert (norm["kl"], norm["loss_difference"]) == (alone.kl, alone.other_loss - alone.loss)
    assert min(norm["kl"], activation["kl"], both["kl"]) > 1e-3
    for name in ("kl", "loss_difference"):
        assert interaction[name] == both[name] - norm[name] - activation[name]


def test_what_changes_nothing_has_no_share():
    norm, activation, _, interaction = attribution(MODEL, PARAMS, "geglu", "rmsnorm", TOKENS, MASK, fold=True)
    for row in (norm, activation, interaction):
        np.testing.assert_allclose([row["kl"], row["loss_difference"]], 0.0, atol=1e-5)


def test_hidden_values_of_other_widths_are_not_compared():
    other = MODEL.clone(d_ff=20)
    row = drift(MODEL, PARAMS, other, trained(other), TOKENS).layers[0]
    assert np.isnan([row["hidden_error"], row["hidden_cosine"]]).all()
    assert np.isfinite([row["output_error"], row["residual_cosine"]]).all()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (MODEL.clone(n_layers=3), "n_layers is 2 in one network and 3 in the other"),
        (MODEL.clone(vocab_size=12), "vocab_size is 11"),
        (ENCODER, "architecture is 'decoder'"),
        (EncoderDecoder(), "a EncoderDecoder cannot"),
    ],
)
def test_networks_of_other_shapes_are_refused_by_name(other, message):
    with pytest.raises(ValueError, match=message):
        drift(MODEL, PARAMS, other, {}, TOKENS)
