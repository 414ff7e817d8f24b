"""Generation: the cache changes nothing, and sampling draws from what it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from refusals import refused

from models.generation import generate, sample
from models.transformer import EncoderDecoder, Transformer

SMALL = Transformer(vocab_size=13, context=16, d_model=16, n_layers=2, n_heads=4, tied=False, init_std=0.5)
MODELS = {
    "learned": SMALL,
    "rotary windows": SMALL.clone(positions="rotary", windows=(3, 0), n_kv_heads=2, qk_norm=True, scan=True),
    "alibi": SMALL.clone(positions="alibi", residual="parallel", scale_by_layer=True),
    "relative": SMALL.clone(positions="relative", relative_buckets=6, relative_distance=5, attention_cap=2.0),
    "bases by layer": SMALL.clone(positions="rotary", windows=(3, 0), rope_thetas=(50.0, 0.0), joint_qk_norm=True),
    "uncounted": SMALL.clone(count_padding=False),
}
PROMPT = jax.random.randint(jax.random.key(1), (2, 5), 0, 13)
BOTH = EncoderDecoder(vocab_size=13, d_model=16, n_heads=4, n_encoder_layers=1, positions="relative", init_std=0.5)


@functools.cache
def params(model):
    inputs = (PROMPT, PROMPT) if isinstance(model, EncoderDecoder) else (PROMPT,)
    return jax.jit(model.init)(jax.random.key(0), *inputs)["params"]


@pytest.mark.parametrize("name", slow_but(("rotary windows",), MODELS))
def test_logits_with_the_cache_are_those_without(name):
    model = MODELS[name]
    tokens = jax.random.randint(jax.random.key(2), (2, 8), 0, 13)
    mask = jnp.array([[1] * 8, [0, 0, 1, 1, 1, 1, 1, 1]])
    apply = jax.jit(model.apply, static_argnames="mutable")
    whole = apply({"params": params(model)}, tokens, mask)
    first, state = apply({"params": params(model)}, tokens[:, :5], mask, slot=0, mutable="cache")
    logits = [first]
    for slot in range(5, 8):
        variables = {"params": params(model), **state}
        next_one = tokens[:, slot : slot + 1]
        part, state = apply(variables, next_one, mask, slot=slot, mutable="cache")
        logits.append(part)
    real = np.asarray(mask, bool)
    np.testing.assert_allclose(jnp.concatenate(logits, axis=1)[real], whole[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", slow_but(("rotary windows",), ("learned", "rotary windows")))
def test_without_a_key_it_is_the_likeliest_token_each_time(name):
    model = MODELS[name]
    tokens = generate(model, params(model), PROMPT, 6)
    logits = jax.jit(model.apply)({"params": params(model)}, jnp.concatenate([PROMPT, tokens], axis=1))
    np.testing.assert_array_equal(tokens, jnp.argmax(logits, axis=-1)[:, 4:-1])
    assert len(np.unique(tokens)) > 3


@pytest.mark.parametrize("side", slow_but(["left"], ["left", "right"]))
@pytest.mark.parametrize("name", slow_but(("learned",), ("learned", "alibi")))
def test_padding_on_either_side_changes_nothing(name, side):
    model, pad = MODELS[name], jnp.full((2, 3), 7)
    tokens = jnp.concatenate([pad, PROMPT] if side == "left" else [PROMPT, pad], axis=1)
    mask = jnp.concatenate([pad * 0, PROMPT * 0 + 1] if side == "left" else [PROMPT * 0 + 1, pad * 0], axis=1)
    expected = generate(model, params(model), PROMPT, 6)
    np.testing.assert_array_equal(generate(model, params(model), tokens, 6, mask=mask), expected)


@pytest.mark.slow
def test_an_encoder_decoder_reads_the_prompt_and_writes_from_start_on():
    mask = jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    tokens = generate(BOTH, params(BOTH), PROMPT, 5, mask=mask, start=3)
    read = jnp.concatenate([jnp.full((2, 1), 3), tokens[:, :-1]], axis=1)
    logits = jax.jit(BOTH.apply)({"params": params(BOTH)}, PROMPT, read, mask)
    np.testing.assert_array_equal(tokens, jnp.argmax(logits, axis=-1))


@pytest.mark.slow
def test_a_key_draws_and_the_same_key_draws_the_same():
    draws = [generate(SMALL, params(SMALL), PROMPT, 8, key=jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert jnp.any(draws[0] != draws[2])
    likeliest = generate(SMALL, params(SMALL), PROMPT, 8, key=jax.random.key(1), top_k=1)
    np.testing.assert_array_equal(likeliest, generate(SMALL, params(SMALL), PROMPT, 8))


def test_a_row_stops_and_stays_stopped():
    free = np.asarray(generate(SMALL, params(SMALL), PROMPT, 8))
    stop = int(free[0, 2])
    stopped = np.asarray(generate(SMALL, params(SMALL), PROMPT, 8, stop=stop))
    for row, expected in zip(stopped, free, strict=True):
        end = np.flatnonzero(expected == stop)
        upto = end[0] + 1 if end.size else 8
        np.testing.assert_array_equal(row[:upto], expected[:upto])
        assert np.all(row[upto:] == stop)


LOGITS = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_k": 9}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_p": 0.5}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.39}, [1, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.5}, [4 / 7, 3 / 7, 0, 0]),
    ],
)
def test_samples_have_the_probabilities_asked_for(options, expected):
    n = 20_000
    drawn = sample(jnp.broadcast_to(LOGITS, (n, 4)), jax.random.key(0), **options)
    share = np.bincount(drawn, minlength=4) / n
    assert np.all(share[np.array(expected) == 0] == 0)
    np.testing.assert_allclose(share, expected, atol=4 * 0.5 / n**0.5)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (SMALL, {"n": 0}, ("n", "0")),
        (SMALL, {"n": 12}, ("17", "positions", "16")),
        (SMALL, {"temperature": 0.0}, ("temperature", "0.0")),
        (SMALL, {"top_k": 0}, ("top_k", "0")),
        (SMALL, {"top_p": 1.5}, ("top_p", "1.5")),
        (SMALL.clone(architecture="encoder"), {}, ("decoder",)),
    ],
)
def test_what_cannot_be_generated_is_refused(model, options, words):
    with refused(*words):
        generate(model, {}, PROMPT, **{"n": 2, **options})
