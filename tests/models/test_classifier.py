"""The classifier: its body is that of the Transformer, path by path; padding has no influence; pooling as said."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refused

from models.classifier import Classifier, classifier
from models.families import family
from models.transformer import EncoderDecoder, Transformer

SMALL = {"vocab_size": 11, "context": 8, "d_model": 8, "n_layers": 1, "n_heads": 2}
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 6))
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])


def made(model):
    return jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]


def leaves(params):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


BERT = family("bert", "base", initialization="lecun", **SMALL)
ENCODERS = {
    "bert": BERT,
    "scanned": Transformer(
        architecture="encoder",
        activation="swiglu",
        scan=True,
        embedding_dim=4,
        tied=False,
        head_bias=True,
        logit_chunk=2,
        logit_cap=3.0,
        **{**SMALL, "n_layers": 2},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_the_body_is_that_of_the_encoder_path_by_path(encoder):
    model = classifier(encoder, classes=5)
    theirs, ours = leaves(made(encoder)), leaves(made(model))
    body = {path for path in theirs if not path.startswith(("['head", "['embedding_out"))}
    assert ours.keys() - body == {"['head']['kernel']", "['head']['bias']"}
    assert body < ours.keys()
    for path in body:
        np.testing.assert_array_equal(theirs[path], ours[path], err_msg=path)


def test_the_last_hidden_state_is_that_of_the_encoder():
    params = made(BERT)
    model = classifier(BERT, classes=5)
    merged = {**made(model), **{name: tree for name, tree in params.items() if not name.startswith("head")}}

    def state(network, params):
        apply = jax.jit(partial(network.apply, mutable="intermediates"))
        return apply({"params": params}, TOKENS, MASK, TOKENS % 2)[1]["intermediates"]["last_hidden_state"][0]

    np.testing.assert_array_equal(state(BERT, params), state(model, merged))


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_padding_has_no_influence(pooling):
    model = classifier(BERT, 5, pooling)
    params = made(model)
    padded = np.where(MASK == 1, TOKENS % 10, 10)  # padding is a token of its own, whose vector is its alone

    @jax.jit
    def slopes(mask):
        """Of what is told of each text, by the vector of every token: [batch, tokens, features]."""

        def told(table):
            own = {**params, "token_embedding": {"embedding": table}}
            return (model.apply({"params": own}, padded, mask) * jnp.arange(1.0, 6)[None]).sum(axis=1)

        return jax.jacrev(told)(params["token_embedding"]["embedding"])

    assert (np.asarray(slopes(MASK)[:, 10]) == 0).all()
    assert (np.asarray(slopes(np.ones_like(MASK))[1:, 10]) != 0).any(axis=1).all()


@pytest.mark.slow
def test_a_padded_text_is_told_as_it_is_alone():
    model = classifier(BERT, 5, "mean")
    params = {"params": made(model)}
    whole = jax.jit(model.apply)(params, TOKENS, MASK)
    assert (whole.shape, whole.dtype) == ((3, 5), jnp.float32)
    np.testing.assert_allclose(whole[1:2], jax.jit(model.apply)(params, TOKENS[1:2, :3]), atol=1e-6)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_class_is_told_from_the_pooled_vector(pooling):
    model = classifier(BERT, 5, pooling)
    params = made(model)
    params["head"]["bias"] = jnp.arange(5.0)
    apply = jax.jit(partial(model.apply, mutable="intermediates"))
    outputs, sown = apply({"params": params}, TOKENS, MASK)
    state = np.asarray(sown["intermediates"]["last_hidden_state"][0])
    means = np.stack([rows[mask == 1].mean(axis=0) for rows, mask in zip(state, MASK, strict=True)])
    pooled = {"first": state[:, 0], "mean": means}[pooling]
    np.testing.assert_allclose(outputs, pooled @ params["head"]["kernel"] + np.arange(5.0)[None], atol=1e-5)
    assert np.isfinite(apply({"params": params}, TOKENS, np.zeros_like(MASK))[0]).all()


@pytest.mark.slow
def test_the_pooled_vector_is_dropped_in_training_alone():
    model = classifier(BERT, 5).clone(dropout=0.5)
    params = made(model)
    # The last norm gives ones whatever was dropped before it.
    params["layer_0"]["feedforward_norm"] = {"scale": jnp.zeros(8), "bias": jnp.ones(8)}

    @partial(jax.jit, static_argnames="train")
    def logits(seed, train=True):
        return model.apply({"params": params}, TOKENS, train=train, rngs={"dropout": jax.random.key(seed)})

    assert (logits(0) != logits(1)).any()
    np.testing.assert_array_equal(logits(0, train=False), logits(1, train=False))


def test_every_field_in_common_is_taken():
    model = classifier(BERT.clone(dropout=0.1, n_kv_heads=1, dtype="bfloat16", remat=True), 3, "mean")
    assert (model.dropout, model.n_kv_heads, model.dtype, model.remat) == (0.1, 1, "bfloat16", True)
    assert (model.classes, model.pooling, model.activation, model.token_types) == (3, "mean", BERT.activation, 2)
    own = {field.name for field in dataclasses.fields(Classifier)}
    assert not own & {
        "architecture",
        "tied",
        "head_activation",
        "head_bias",
        "logit_cap",
        "logit_chunk",
        "scale_output",
    }


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Transformer(), ("architecture", "'decoder'")),
        (EncoderDecoder(), ("model", "EncoderDecoder")),
    ],
)
def test_other_models_are_refused(model, words):
    with refused(*words):
        classifier(model, 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pooling": "means"}, ("pooling", "'means'", "first", "'mean'")),
        ({"classes": 0}, ("classes", "0")),
        ({"vocab_size": 0}, ("vocab_size", "0")),
        ({"context": 5}, ("input", "6", "positions", "5")),
    ],
)
def test_bad_fields_are_refused(fields, words):
    model = classifier(BERT, 5)
    for name, value in fields.items():
        object.__setattr__(model, name, value)  # past the type checks that tests have and users have not
    with refused(*words):
        model.check(TOKENS.shape[1])


def test_a_call_checks_first():
    with refused("positions", "5", "6"):
        jax.eval_shape(classifier(BERT, 5).clone(context=5).init, jax.random.key(0), TOKENS)
