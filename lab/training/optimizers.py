"""Optimizers by name: static `Settings` choose the transformation, traced `Hyperparameters` set its numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lab.training.settings import Hyperparameters, Settings

Rate = Callable[[Int[Array, ""]], Float[Array, ""]]  # completed steps -> learning rate

WEIGHTS = ("kernel", "embedding")
PENALIZED = (*WEIGHTS, "scale")


def optimizer(settings: Settings, hyperparameters: Hyperparameters) -> optax.GradientTransformation:
    """The optimizer of one run, for models whose parameters are dicts. It clips the gradient by its global norm, then
    adds that of an L2 penalty, weight_decay / 2 times the sum of squares, if enabled in the settings.

    The schedule is a unit schedule times the traced learning rate, since optax's warmup schedules reject a traced peak.
    """
    unit = unit_schedule(settings)

    def rate(count: Int[Array, ""]) -> Float[Array, ""]:
        return hyperparameters.learning_rate * unit(count)

    clip = optax.clip_by_global_norm(hyperparameters.clip_norm)
    if settings.late_b1 is None:
        rule = _RULES[settings.optimizer](rate, hyperparameters)
    else:
        rule = _adam_of_two_halves(rate, hyperparameters, settings.late_b1, settings.steps // 2)
    if settings.regularization == "decoupled":
        return optax.chain(clip, rule)
    return optax.chain(clip, optax.add_decayed_weights(hyperparameters.weight_decay, mask=penalized), rule)


def unit_schedule(settings: Settings) -> Rate:
    """The learning rate as a fraction of its peak, as a function of the number of completed steps.

    The warmup rises from 1/warmup to 1, so the first step is not zero. `inverse_sqrt` is sqrt(warmup / step) after it,
    and with `decay_steps` is also multiplied by a linear decay to zero at the end, as in Shazeer (2020).
    """
    warmup, steps, final = max(settings.warmup, 1), settings.steps, settings.final_ratio

    def unit(count: Int[Array, ""]) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32) + 1
        done = jnp.clip((step - warmup) / max(steps - warmup, 1), 0, 1)  # fraction of the steps after the warmup
        fall = jnp.clip((steps - step) / max(settings.decay, 1), 0, 1)
        shape = {
            "cosine": final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * done)),
            "linear": 1 - (1 - final) * done,
            "constant": jnp.ones(()),
            "inverse_sqrt": jnp.sqrt(warmup / jnp.maximum(step, warmup)) * (fall if settings.decay_steps else 1),
            "wsd": fall,
        }[settings.schedule]
        return jnp.minimum(step / warmup, 1) * shape

    return unit


def decayed(parameters: Any) -> Any:
    """Mask of the parameters with weight decay: kernels and embeddings, by name.

    By name and not by rank, since scanned layers stack biases and scales into matrices; learned activation parameters
    are never decayed.
    """
    return _named(WEIGHTS, parameters)


def penalized(parameters: Any) -> Any:
    """Mask of the parameters with an L2 penalty: those with decay, and the scales of normalizations, as in Lasagne."""
    return _named(PENALIZED, parameters)


def _named(names: tuple[str, ...], parameters: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in names, parameters)


def _adamw(rate: Rate, h: Hyperparameters) -> optax.GradientTransformation:
    return optax.adamw(
        rate, b1=h.b1, b2=h.b2, eps=h.eps, eps_root=h.eps_root, weight_decay=h.weight_decay, mask=decayed
    )


def _adam(rate: Rate, h: Hyperparameters) -> optax.GradientTransformation:
    return optax.adam(rate, b1=h.b1, b2=h.b2, eps=h.eps, eps_root=h.eps_root)


def _adam_of_two_halves(rate: Rate, h: Hyperparameters, late_b1: float, half: int) -> optax.GradientTransformation:
    """Adam whose b1 changes after half of the steps, as in Hendrycks and Gimpel (2016) on CIFAR-10."""

    def b1(count: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.where(count < half, h.b1, late_b1)

    return optax.inject_hyperparams(optax.adam)(rate, b1=b1, b2=h.b2, eps=h.eps, eps_root=h.eps_root)


def _sgd(rate: Rate, h: Hyperparameters) -> optax.GradientTransformation:
    return optax.sgd(rate, momentum=h.b1, nesterov=True)


def _adafactor(rate: Rate, h: Hyperparameters) -> optax.GradientTransformation:
    """Adafactor without momentum (Shazeer and Stern 2018): the rate is relative to the scale of each parameter.

    Scale and factored second moment are computed per array, so scanned layers share them and separate ones do not.
    """
    return optax.chain(optax.adafactor(rate), _decay(rate, h))


def _lion(rate: Rate, h: Hyperparameters) -> optax.GradientTransformation:
    return optax.lion(rate, b1=h.b1, b2=h.b2, weight_decay=h.weight_decay, mask=decayed)


def _muon(rate: Rate, h: Hyperparameters) -> optax.GradientTransformation:
    """Muon (Jordan 2024) on the kernels of the layers, Adam with Nesterov momentum on all other parameters.

    Updates are scaled to those of AdamW, 0.2 root mean square (Liu et al. 2025), so that one learning rate suits both.
    """
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


def _decay(rate: Rate, h: Hyperparameters) -> optax.GradientTransformation:
    """Decoupled weight decay for rules whose built-in one does not support the rate or the mask; applied after it."""
    return optax.add_decayed_weights(lambda count: -h.weight_decay * rate(count), mask=decayed)


_RULES: dict[str, Callable[[Rate, Hyperparameters], optax.GradientTransformation]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "adafactor": _adafactor,
    "lion": _lion,
    "muon": _muon,
}


def _matrices(parameters: Any) -> Any:
    """Muon's matrices: kernels [..., in, out] except the head's; a leading layer axis is a batch of matrices."""
    numbers = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)

    def choose(path: Any, _: Any) -> Any:
        return numbers if path[-1].key == "kernel" and path[0].key != "head" else None

    return jax.tree_util.tree_map_with_path(choose, parameters)
