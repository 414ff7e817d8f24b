"""What two networks differ in is found, where it is and as large as it is; nothing else is."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.probes.drift import drift
from lab.surgery.attribution import attribution, changes
from lab.surgery.swap import swapped
from lab.tasks.language import CausalLanguage
from lab.tasks.masked import MaskedLanguage
from lab.tasks.spans import SpanCorruption
from models.layers.scanned import stacked
from models.mlp import MLP
from models.transformer import EncoderDecoder, Transformer

MODEL = Transformer(vocab_size=257, context=8, d_model=16, n_layers=2, n_heads=4, d_ff=24)
ENCODER = MODEL.clone(architecture="encoder", placement="post", embedding_norm=True, token_types=2)
CAUSAL, MASKED, SPANS = CausalLanguage(context=8), MaskedLanguage(context=8), SpanCorruption(context=8)
T5 = EncoderDecoder(
    **{"vocab_size": SPANS.vocab_size, "context": 9, "d_model": 16, "n_layers": 1, "n_encoder_layers": 2, "n_heads": 4}
)
SITES = ("hidden", "output", "residual")
TEXT = np.random.default_rng(0).integers(0, 256, 31)
SPLIT = {"tokens": TEXT, "bytes": np.ones(31, np.int32)}


def batches(task):
    """Two batches of two windows; of a causal task the last target is padding."""
    return task.evaluation_batches(SPLIT, 2)


def trained(model, seed=2):
    """Parameters of which none is zero."""
    task = task_of(model)
    inputs = task.inputs({name: jnp.asarray(field[0]) for name, field in batches(task).items()})
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"])
    rng = np.random.default_rng(seed)
    return tree.unflatten([jnp.asarray(rng.normal(0.2, 0.4, leaf.shape), jnp.float32) for leaf in leaves])


def task_of(model):
    if isinstance(model, EncoderDecoder):
        return SPANS
    return CAUSAL if model.architecture == "decoder" else MASKED


def apart(model, params, other, others, fields=None):
    (found,) = drift(task_of(model), model, params, [(other, others)], fields or batches(task_of(model)))
    return found


def with_down(params, layer, factor):
    """Parameters with another output of one feed-forward layer."""
    scaled = jax.tree.map(lambda leaf: factor * leaf, params[layer]["feedforward"]["down"])
    return {**params, layer: {**params[layer], "feedforward": {**params[layer]["feedforward"], "down": scaled}}}


PARAMS = trained(MODEL)


@pytest.mark.parametrize(
    ("model", "places"),
    [
        (MODEL, [("decoder", 0), ("decoder", 1)]),
        pytest.param(MODEL.clone(scan=True, remat=True), [("decoder", 0), ("decoder", 1)], marks=pytest.mark.slow),
        pytest.param(MODEL.clone(logit_chunk=3), [("decoder", 0), ("decoder", 1)], marks=pytest.mark.slow),
        pytest.param(ENCODER, [("encoder", 0), ("encoder", 1)], marks=pytest.mark.slow),
        (T5, [("encoder", 0), ("encoder", 1), ("decoder", 0)]),
    ],
    ids=["decoder", "scanned", "chunked", "encoder", "encoder-decoder"],
)
def test_a_network_does_not_drift_from_itself(model, places):
    params = trained(model)
    found = apart(model, params, model, params)
    own = {f"{site}_{metric}": value for site in SITES for metric, value in (("error", 0.0), ("cosine", 1.0))}
    assert found.layers == tuple({"stack": stack, "layer": layer, **own} for stack, layer in places)
    assert (found.kl, found.agreement) == (0.0, 1.0)
    assert found.loss == found.other_loss


def test_a_swap_is_found_where_it_takes_effect():
    params = with_down(PARAMS, "layer_0", 0.0)
    first, second = apart(MODEL, params, *swapped(MODEL, params, "relu")).layers
    assert first["hidden_error"] > 0.01
    assert first["output_error"] == first["residual_error"] == second["layer"] - 1 == 0
    assert min(second[f"{site}_error"] for site in SITES) > 0.01
    assert max(second[f"{site}_cosine"] for site in SITES) < 1


def test_in_an_encoder_decoder_only_the_decoder_sees_its_own_swap():
    params = trained(T5)
    *encoder, decoder = apart(T5, params, T5, with_down(params, "layer_0", 2.0)).layers
    assert {row["residual_error"] for row in encoder} == {0.0}
    assert decoder["residual_error"] > 0.01


def test_an_output_of_twice_the_size_is_off_by_all_of_it():
    first, second = apart(MODEL, PARAMS, MODEL, with_down(PARAMS, "layer_1", 2.0)).layers
    kept = [first[f"{site}_error"] for site in SITES]
    assert set(itertools.chain(kept, (second["hidden_error"],))) == {0}
    np.testing.assert_allclose((second["output_error"], second["output_cosine"]), 1.0, rtol=1e-6)
    assert 0 < second["residual_error"] < 1


def test_places_without_a_reference_have_no_relative_error():
    """Where all units see a sum s, relu and gelu differ by 1 - Phi(s) < 1/2 if it is positive; else relu is silent."""
    model = MODEL.clone(activation="relu")
    kernel = jnp.tile(PARAMS["layer_0"]["feedforward"]["up"]["kernel"][:, :1], 24)

    def first_layer(bias):
        up = {"kernel": kernel, "bias": jnp.full(24, bias)}
        feedforward = {**PARAMS["layer_0"]["feedforward"], "up": up}
        params = {**PARAMS, "layer_0": {**PARAMS["layer_0"], "feedforward": feedforward}}
        return apart(model, params, *swapped(model, params, "gelu")).layers[0]

    some, silent = first_layer(2.0), first_layer(-9.0)
    np.testing.assert_allclose(some["hidden_cosine"], 0.75, rtol=1e-6)  # a quarter has nothing in common
    assert 0 < some["hidden_error"] < 0.5
    assert np.isnan(silent["hidden_error"])


@pytest.mark.slow
def test_scanned_layers_give_the_same_rows():
    networks = MODEL, PARAMS, *swapped(MODEL, PARAMS, "silu", "rmsnorm")
    scanned = [tree if i % 2 else tree.clone(scan=True) for i, tree in enumerate(networks)]
    scanned[1], scanned[3] = stacked(PARAMS), stacked(networks[3])
    for row, other in zip(apart(*networks).layers, apart(*scanned).layers, strict=True):
        assert row.keys() == other.keys()
        np.testing.assert_allclose([row[f"{s}_error"] for s in SITES], [other[f"{s}_error"] for s in SITES], rtol=1e-5)


def in_numpy(model, params):
    """Logarithms of probabilities, weight and labels of every place, all batches one after another."""
    task = task_of(model)
    found = []
    for index in range(2):
        batch = {name: jnp.asarray(field[index]) for name, field in batches(task).items()}
        logits = np.asarray(model.apply({"params": params}, *task.inputs(batch)), np.float64)
        labels = batch["tokens"][:, 1:] if task is CAUSAL else batch["labels"]
        found.append((logits - np.log(np.exp(logits).sum(-1, keepdims=True)), batch["weight"], labels))
    return [np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("model", [MODEL, pytest.param(ENCODER, marks=pytest.mark.slow)], ids=["decoder", "encoder"])
def test_what_is_said_is_as_in_numpy(model):
    params = trained(model)
    other, others = swapped(model, params, "relu", "rmsnorm")
    found = apart(model, params, other, others)
    (p, weight, labels), (q, _, _) = in_numpy(model, params), in_numpy(other, others)
    asked = weight > 0
    assert 0 < asked.mean() < 1
    np.testing.assert_allclose(found.kl, (np.exp(p) * (p - q)).sum(-1)[asked].mean(), rtol=1e-4)
    np.testing.assert_allclose(found.agreement, (p.argmax(-1) == q.argmax(-1))[asked].mean(), rtol=1e-6)
    for loss, x in ((found.loss, p), (found.other_loss, q)):
        told = np.take_along_axis(x, labels[..., None], -1)[..., 0]
        np.testing.assert_allclose(loss, -told[asked].mean(), rtol=1e-5)


def test_the_kl_of_close_networks_is_not_lost_in_rounding():
    others = {**PARAMS, "final_norm": {**PARAMS["final_norm"], "bias": PARAMS["final_norm"]["bias"] + 1e-4}}
    found = apart(MODEL, PARAMS, MODEL, others)
    (p, weight, _), (q, _, _) = in_numpy(MODEL, PARAMS), in_numpy(MODEL, others)
    expected = (np.exp(p) * (p - q)).sum(-1)[weight > 0].mean()
    assert 0 < expected < 1e-5
    np.testing.assert_allclose(found.kl, expected, rtol=0.05)


def test_examples_that_fill_the_last_batch_have_no_influence():
    fields = batches(MASKED)
    empty = {name: np.concatenate([field, 0 * field[:1]]) for name, field in fields.items()}
    params = trained(ENCODER)
    networks = ENCODER, params, *swapped(ENCODER, params, "relu", "rmsnorm")
    assert dataclasses.astuple(apart(*networks, fields)) == dataclasses.astuple(apart(*networks, empty))


def values(rows, measure):
    return {row["change"]: row["value"] for row in rows if row["measure"] == measure}


def test_every_change_is_told_of_as_if_it_were_the_only_one():
    asked = changes(MODEL, "relu", "rmsnorm")
    assert list(asked) == ["norm", "activation", "both", "norm, centring folded", "both, centring folded"]
    rows = attribution(CAUSAL, MODEL, PARAMS, asked, batches(CAUSAL))
    alone = apart(MODEL, PARAMS, *swapped(MODEL, PARAMS, norm="rmsnorm"))
    assert values(rows, "kl")["norm"] == alone.kl
    assert values(rows, "loss")["norm"] == alone.other_loss
    assert values(rows, "loss_difference")["norm"] == alone.other_loss - alone.loss
    errors = [row["value"] for row in rows if row["change"] == "norm" and row["measure"] == "output_error"]
    assert errors == [layer["output_error"] for layer in alone.layers]


def test_what_changes_nothing_moves_nothing():
    rows = attribution(CAUSAL, MODEL, PARAMS, changes(MODEL, "geglu", "rmsnorm"), batches(CAUSAL))
    kl = values(rows, "kl")
    for change in ("activation", "norm, centring folded", "both, centring folded"):
        assert abs(kl[change]) < 1e-5
    assert min(kl["norm"], kl["both"]) > 1e-3


def test_only_what_is_asked_for_is_changed():
    assert list(changes(MODEL, "relu")) == ["activation"]
    assert list(changes(MODEL.clone(norm="rmsnorm"), norm="layernorm")) == ["norm"]


@pytest.mark.slow
def test_hidden_values_of_other_widths_are_not_compared():
    other = MODEL.clone(d_ff=20)
    row = apart(MODEL, PARAMS, other, trained(other)).layers[0]
    assert np.isnan([row["hidden_error"], row["hidden_cosine"]]).all()
    assert np.isfinite([row["output_error"], row["residual_cosine"]]).all()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (MODEL.clone(n_layers=3), "n_layers is 2 in one network and 3 in the other"),
        (MODEL.clone(vocab_size=258), "vocab_size is 257"),
        (ENCODER, "architecture is 'decoder'"),
        (MLP(), "a MLP"),
    ],
)
def test_networks_of_other_shapes_are_refused_by_name(other, message):
    with pytest.raises(ValueError, match=message):
        apart(MODEL, PARAMS, other, {})
