"""Optimizers by name: static `Settings` choose the transformation, traced `Hyperparameters` set its numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from training.settings import Hyperparameters, Settings

WEIGHTS = ("kernel", "embedding")
FINAL = 0.1  # share of the peak at which cosine and linear end, as in GPT-3 and LLaMA
DECAY = 0.2  # share of the steps over which warmup-stable-decay decays


def optimizer(settings: Settings, hyperparameters: Hyperparameters) -> optax.GradientTransformation:
    """The optimizer of one run.

    The schedule is a unit schedule times the traced learning rate: optax's own warmup schedules reject a traced peak.
    The gradient is clipped by its global norm first.
    """
    unit = unit_schedule(settings)

    def rate(count: Int[Array, ""]) -> Float[Array, ""]:
        return hyperparameters.learning_rate * unit(count)

    return optax.chain(
        optax.clip_by_global_norm(hyperparameters.clip_norm), _RULES[settings.optimizer](rate, hyperparameters)
    )


def unit_schedule(settings: Settings) -> Callable[[Int[Array, ""]], Float[Array, ""]]:
    """The learning rate at a step as a share of its peak, a function of the number of steps already made.

    The first step already moves: the warmup rises from 1/warmup to 1. `inverse_sqrt` is sqrt(warmup / step) after it.
    """
    warmup, steps = max(settings.warmup, 1), settings.steps

    def unit(count: Int[Array, ""]) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32) + 1
        done = jnp.clip((step - warmup) / max(steps - warmup, 1), 0, 1)  # share of the steps after the warmup
        shape = {
            "cosine": FINAL + (1 - FINAL) * 0.5 * (1 + jnp.cos(jnp.pi * done)),
            "linear": 1 - (1 - FINAL) * done,
            "constant": jnp.ones(()),
            "inverse_sqrt": jnp.sqrt(warmup / jnp.maximum(step, warmup)),
            "wsd": jnp.clip((steps - step) / max(DECAY * steps, 1), 0, 1),
        }[settings.schedule]
        return jnp.minimum(step / warmup, 1) * shape if settings.warmup else shape

    return unit


def decayed(parameters: Any) -> Any:
    """Which parameters weight decay falls on: kernels and embeddings, by name.

    By name and not by rank, since scanned layers stack biases and scales to matrices; learned parameters of an
    activation are never decayed.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in WEIGHTS, parameters)


def _adamw(rate, h):
    return optax.adamw(rate, b1=h.b1, b2=h.b2, eps=h.eps, weight_decay=h.weight_decay, mask=decayed)


def _adam(rate, h):
    return optax.adam(rate, b1=h.b1, b2=h.b2, eps=h.eps)


def _sgd(rate, h):
    return optax.sgd(rate, momentum=h.b1, nesterov=True)


def _adafactor(rate, h):
    return optax.chain(optax.adafactor(rate), _decay(rate, h))


def _lion(rate, h):
    return optax.lion(rate, b1=h.b1, b2=h.b2, weight_decay=h.weight_decay, mask=decayed)


def _muon(rate, h):
    """Muon on the kernels of the layers, Adam on the rest; updates of AdamW's size (consistent_rms 0.2)."""
    muon = optax.contrib.muon(
        rate,
        beta=h.b1,
        eps=h.eps,
        adam_b1=h.b1,
        adam_b2=h.b2,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=0.2,
    )
    return optax.chain(muon, _decay(rate, h))


def _decay(rate, h) -> optax.GradientTransformation:
    """Decoupled weight decay for rules whose own does not know the rate or the mask; comes after the rule."""
    return optax.add_decayed_weights(lambda count: -h.weight_decay * rate(count), mask=decayed)


_RULES: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "adafactor": _adafactor,
    "lion": _lion,
    "muon": _muon,
}


def _matrices(parameters: Any) -> Any:
    """Muon's matrices: kernels [..., in, out] inside the layers; a leading layer axis is a batch of matrices."""
    numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)

    def choose(path, leaf):
        inside = len(path) > 2  # the head is a kernel too, but no hidden matrix
        return numbers if path[-1].key == "kernel" and leaf.ndim >= 2 and inside else None

    return jax.tree_util.tree_map_with_path(choose, parameters)
