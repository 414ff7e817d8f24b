"""Text generation with a language model, token by token, with a cache of keys and values."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from models.layers.stack import Given
from models.transformer import EncoderDecoder, LanguageModel, Transformer


def generate(
    model: LanguageModel,
    params: dict[str, Any],
    prompt: Int[Given, "batch length"],
    n: int,
    *,
    mask: Shaped[Given, "batch length"] | None = None,
    key: Key[Array, ""] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    start: int = 0,
) -> Int[Array, "batch n"]:
    """The n tokens that follow the prompt; with an encoder-decoder, those that follow `start` given the prompt.

    Without a `key`, decoding is greedy; with a key, tokens are drawn by `sample`. `mask` is 1 at the prompt's tokens
    and 0 at padding, on either side; a row that has produced `stop` repeats it. Raises ValueError, in one sentence, for
    a model that is not a decoder, a sequence that is too long for it, or a number out of range.
    """
    batch, length = prompt.shape
    if n < 1:
        raise ValueError(f"n is {n}: it must be at least 1")
    _check_sampling(temperature, top_k, top_p)
    given = jnp.ones_like(prompt) if mask is None else (mask != 0).astype(prompt.dtype)
    sampling = (temperature, top_k, top_p) if key is not None else None
    key = jax.random.key(0) if key is None else key
    if isinstance(model, EncoderDecoder):
        model.check(max(length, n))
        return _continued(
            model, n, sampling, stop, params, prompt, given, jnp.full((batch, 1), start, prompt.dtype), key
        )
    if not isinstance(model, Transformer) or model.architecture != "decoder":
        raise ValueError(f"{type(model).__name__} is not a decoder and cannot generate text")
    model.check(length + n)
    # Padding goes to the left, so that new tokens directly follow the prompt.
    order = jnp.argsort(given, axis=1, stable=True)
    prompt, given = (jnp.take_along_axis(array, order, axis=1) for array in (prompt, given))
    return _continued(model, n, sampling, stop, params, None, given, prompt, key)


def sample(
    logits: Float[Array, "batch vocab"],
    key: Key[Array, ""],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Int[Array, " batch"]:
    """One token per row, drawn from softmax(logits / temperature).

    Only the `top_k` most likely tokens are kept (Fan et al. 2018), and of these the fewest whose total probability is
    at least `top_p` (Holtzman et al. 2019). Raises ValueError for a number out of range.
    """
    _check_sampling(temperature, top_k, top_p)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if top_p is not None:
        falling = -jnp.sort(-logits, axis=-1)
        share = jax.nn.softmax(falling)
        before = jnp.cumsum(share, axis=-1) - share
        least = jnp.min(jnp.where(before < top_p, falling, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return jax.random.categorical(key, logits)


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be positive; leave out key for greedy decoding")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: it must be at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it must be more than 0 and at most 1")


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _continued(
    model: Any, n: int, sampling: Any, stop: int | None, params: Any, source: Any, given: Array, prompt: Array, key: Any
) -> Int[Array, "batch n"]:
    """n tokens after the prompt; `given` is the mask of the source if there is one, else of the prompt."""
    length = prompt.shape[1]
    own = jnp.ones_like(prompt) if source is not None else given
    whole = jnp.pad(own, ((0, 0), (0, n)), constant_values=1)
    positions = jnp.maximum(jnp.cumsum(whole, axis=1) - 1, 0)

    def step(cache: Any, tokens: Array, slot: Any, source: Any) -> tuple[Any, Float[Array, "batch vocab"]]:
        variables = {"params": params} | ({} if cache is None else {"cache": cache})
        if isinstance(model, EncoderDecoder):
            call = functools.partial(model.apply, variables, source, tokens, given, decoder_mask=whole)
        else:
            places = jax.lax.dynamic_slice_in_dim(positions, slot, tokens.shape[1], axis=1)
            call = functools.partial(model.apply, variables, tokens, whole, positions=places)
        logits, written = call(slot=slot, mutable=["cache"])
        return written["cache"], jnp.asarray(logits)[:, -1]

    def choose(logits: Array, i: Any, before: Array) -> Int[Array, " batch"]:
        chosen = (
            jnp.argmax(logits, axis=-1) if sampling is None else sample(logits, jax.random.fold_in(key, i), *sampling)
        )
        return chosen if stop is None else jnp.where(before == stop, stop, chosen)

    def following(state: Any, i: Any) -> tuple[Any, Int[Array, " batch"]]:
        cache, token = state
        cache, logits = step(cache, token[:, None], length - 1 + i, None)
        token = choose(logits, i, token)
        return (cache, token), token

    cache, logits = step(None, prompt, 0, source)
    first = choose(logits, 0, jnp.full_like(prompt[:, -1], -1))
    _, rest = jax.lax.scan(following, (cache, first), jnp.arange(1, n))
    return jnp.concatenate([first[:, None], rest.T], axis=1)
