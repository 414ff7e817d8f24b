"""What happens at a place inside a network, reduced there to a few numbers; nothing is computed unless it is asked for.

A layer calls `observe`, and a caller that wants the numbers passes `mutable=["telemetry"]` to `model.apply`. Reducing
inside the block matters: activations or histograms that leave it cost up to four times the forward pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

COLLECTION = "telemetry"
"""The collection of Flax variables that holds the numbers."""
FAR = 4.0
"""|z| from which a gate counts as saturated: at unit scale P(z < -4) is 3.2e-5, and there GELU's gradient vanishes."""
DORMANT = 0.025
"""tau: a unit is dormant if its mean |h| is at most this fraction of the layer's (Sokar et al. 2023, 2302.12902)."""
THRESHOLDS = (0.0, 0.01, 0.1)
"""|h| up to which a hidden value counts as inactive."""
CETT = 0.2
"""Relative error of the output at which neurons are left out (Zhang et al. 2024, arXiv:2402.03804)."""
MOST_SAMPLED = 1024
"""Positions that spectra, CETT and medians are of at most: half of all up to this number, which the time grows with."""

Values = dict[str, Array]
"""Name of a quantity -> its value, a scalar, or the eigenvalues of a spectrum."""
Real = Shaped[Array, "*rows"] | None
"""Nonzero at the positions that count, of the same leading axes as the values; None: all."""
Reduction = Callable[[Float[Array, "*rows features"], Real], Values]


def observing(module: nn.Module) -> bool:
    """Whether the numbers of this call are wanted; False while parameters are initialized."""
    return module.is_mutable_collection(COLLECTION) and not module.is_initializing()


def observe(
    module: nn.Module,
    site: str,
    x: Float[Array, "*rows features"],
    *reductions: Reduction,
    real: Real = None,
) -> None:
    """Record the numbers of `reductions` (default: `direction` and `distribution`) of x at a place of a module.

    Call it in `__call__` of any Flax Linen module: `observe(self, "hidden", h)`. `site` is the name of the place within
    the module; the layer is the module's path. Without the collection "telemetry" among the mutable ones of `apply`,
    the traced program is the same as without the call. If x is nan anywhere, all of its numbers are, even those that
    comparisons would make 0.
    """
    if observing(module):
        kept = lax.stop_gradient(x.astype(jnp.float32))
        found = [reduce(kept, real) for reduce in reductions or (direction, distribution)]
        broken = jnp.isnan(_counted(kept, real, 0.0)).any()
        named = {name: jnp.where(broken, jnp.nan, value) for values in found for name, value in values.items()}
        module.sow(COLLECTION, site, named)


def direction(x: Float[Array, "*rows features"], real: Real = None) -> Values:
    """`rms`, the root mean square, and `mean_over_rms`, that of the mean over the features by their root mean square in
    each position: its cosine to the all-ones vector. Positions of zeros have the cosine 0."""
    size = jnp.sqrt(jnp.square(x).mean(axis=-1))
    cosine = jnp.where(size > 0, x.mean(axis=-1) / jnp.where(size > 0, size, 1.0), 0.0)
    return {"mean_over_rms": _mean(cosine, real), "rms": jnp.sqrt(_mean(jnp.square(x).mean(axis=-1), real))}


def preactivation(z: Float[Array, "*rows features"], real: Real = None) -> Values:
    """Mean, standard deviation and share of positive values of an activation's input z, and its shares beyond `FAR` on
    either side, where gates are saturated: unlike in the gate's own values, these compare between activations."""
    mean, std = moments(z, real)
    shares = {"share_positive": z > 0, "share_below_-4": z < -FAR, "share_above_4": z > FAR}
    return {"mean": mean, "std": std} | {name: _share(where, real) for name, where in shares.items()}


def distribution(x: Float[Array, "*rows features"], real: Real = None) -> Values:
    """Mean, standard deviation, share of negative values, kurtosis (3 for a normal distribution) and max |x| / median
    |x| (infinite if more than half of the values are zero)."""
    mean, std = moments(x, real)
    fourth = _mean(jnp.square(jnp.square(x - mean)), real)
    size = _counted(jnp.abs(x), real, 0.0)
    return {
        "mean": mean,
        "std": std,
        "share_negative": _share(x < 0, real),
        "kurtosis": fourth / jnp.square(jnp.square(std)),
        "max_over_median": size.max() / median(*_sampled(jnp.abs(x), real)),
    }


def units(h: Float[Array, "*rows features"], real: Real = None) -> Values:
    """`dead_share`, the share of units that are zero at every position, and `dormant_share`, that of units with a mean
    |h| of at most `DORMANT` times the mean over all units; it includes the dead ones."""
    size = _counted(jnp.abs(h), real, 0.0).reshape(-1, h.shape[-1])
    total = size.sum(axis=0)
    return {
        "dead_share": (size.max(axis=0) == 0).astype(jnp.float32).mean(),
        "dormant_share": (total <= DORMANT * total.mean()).astype(jnp.float32).mean(),
    }


def sparsity(h: Float[Array, "*rows features"], real: Real = None) -> Values:
    """The share of hidden values with |h| up to each of `THRESHOLDS`."""
    return {f"share_within_{threshold:g}": _share(jnp.abs(h) <= threshold, real) for threshold in THRESHOLDS}


def tail_truncation(
    h: Float[Array, "*rows features"], real: Real = None, *, kernel: Float[Array, "features outputs"]
) -> Values:
    """`sparsity_at_cett`: the share of neurons that can be left out before CETT, the cumulative error of tail
    truncation, exceeds `CETT`.

    Neuron i adds n_i = h_i kernel_i to the output. Those with ||n_i|| <= eps are left out, and CETT is the mean over
    the positions (half of them, see `MOST_SAMPLED`) of ||sum of those left out|| / ||sum of all||. eps is found by
    bisection, to within 6 %.
    """
    h, real = _sampled(h, real)
    length = jnp.linalg.norm(kernel.astype(jnp.float32), axis=-1)
    size = jnp.abs(h) * jnp.broadcast_to(length, h.shape)
    whole = jnp.linalg.norm(h @ kernel, axis=-1)
    top = _counted(size, real, 0.0).max()

    def left_out(level: Array) -> Array:
        return size <= top * jnp.exp2(-level)

    def narrowed(_: Any, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        few, many = bounds  # eps in halvings of the largest: few halvings leave out too much, many do not
        level = (few + many) / 2
        error = jnp.linalg.norm(jnp.where(left_out(level), h, 0.0) @ kernel, axis=-1)
        relative = _mean(jnp.where(whole > 0, error / jnp.where(whole > 0, whole, 1.0), 0.0), real)
        return jnp.where(relative > CETT, level, few), jnp.where(relative > CETT, many, level)

    bounds = (jnp.zeros(()), jnp.full((), 20.0))
    _, level = lax.fori_loop(0, 8, narrowed, bounds)
    return {"sparsity_at_cett": _share(left_out(level), real)}


def spectrum(x: Float[Array, "*rows features"], real: Real = None) -> Float[Array, " features"]:
    """Eigenvalues of the covariance of the features over half of the positions (see `MOST_SAMPLED`), largest first.

    Fewer differ from zero than there are positions, so that spectra compare at equal numbers of them. They are the
    singular values of the smaller of the two Gram matrices, whose decomposition without vectors is the fastest.
    """
    rows, real = _sampled(x, real)
    weight = jnp.ones(len(rows)) if real is None else (real != 0).astype(jnp.float32)
    weight = (weight / weight.sum())[:, None]
    centred = (rows - (weight * rows).sum(axis=0, keepdims=True)) * jnp.sqrt(weight)
    gram = centred @ centred.T if len(rows) < x.shape[-1] else centred.T @ centred
    values = jnp.linalg.svd(gram, compute_uv=False)
    return jnp.pad(values, (0, x.shape[-1] - len(values)))


def observe_spectra(
    module: nn.Module, before: Float[Array, "*rows features"], after: Float[Array, "*rows features"], real: Real = None
) -> None:
    """Record the eigenvalues before and after an activation at the site "spectrum"."""
    if observing(module):
        found = {
            name: spectrum(lax.stop_gradient(x.astype(jnp.float32)), real)
            for name, x in (("before", before), ("after", after))
        }
        module.sow(COLLECTION, "spectrum", found)


def observe_hidden(
    module: nn.Module,
    inputs: list[Float[Array, "*rows features"]],
    hidden: Float[Array, "*rows features"],
    real: Real = None,
    kernel: Array | None = None,
) -> None:
    """Record what surrounds an activation: its inputs (of a gated one the gate and the value), the hidden values, and
    the spectra of both; with the kernel that reads the hidden values, also `tail_truncation`."""
    for site, z in zip(("preactivation", "value"), inputs, strict=False):
        observe(module, site, z, preactivation, real=real)
    more = () if kernel is None else (partial(tail_truncation, kernel=kernel),)
    observe(module, "hidden", hidden, distribution, units, sparsity, *more, real=real)
    observe_spectra(module, inputs[0], hidden, real)


def observe_scores(
    module: nn.Module, scores: Float[Array, "batch heads queries keys"], allowed: Any, real: Real = None
) -> None:
    """Record the largest |score| of attention, before the softmax, where a query that counts may attend."""
    if observing(module):
        size = jnp.abs(scores) if allowed is None else jnp.where(allowed, jnp.abs(scores), 0.0)
        counted = _counted(size.swapaxes(1, 2), real, 0.0)
        module.sow(COLLECTION, "scores", {"max": lax.stop_gradient(counted.max())})


def moments(x: Float[Array, "*rows features"], real: Real = None) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean and standard deviation of all values."""
    mean = _mean(x, real)
    return mean, jnp.sqrt(_mean(jnp.square(x - mean), real))


def median(x: Float[Array, "*rows features"], real: Real = None) -> Float[Array, ""]:
    """The lower median of values that are not negative, rounded down to 12 binary digits.

    Found by bisection over the bits of the numbers, whose order is that of the numbers: on a CPU the counts take a
    twentieth of the time of a sort.
    """
    bits = lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
    wanted = (_number(x, real) + 1) // 2

    def narrowed(index: Int[Array, ""], lower: Int[Array, ""]) -> Int[Array, ""]:
        """The largest number with fewer than `wanted` values below it, bit by bit."""
        tried = lower | (1 << (30 - index))
        return jnp.where(_counted(bits < tried, real, False).sum() < wanted, tried, lower)

    return lax.bitcast_convert_type(lax.fori_loop(0, 20, narrowed, jnp.int32(0)), jnp.float32)


def _sampled(x: Float[Array, "*rows features"], real: Real) -> tuple[Float[Array, "some features"], Any]:
    """Every second position or, of more than 2 `MOST_SAMPLED`, as many evenly spaced ones."""
    rows = x.reshape(-1, x.shape[-1])
    every = max(2, -(-len(rows) // MOST_SAMPLED))
    return rows[::every], None if real is None else real.reshape(-1)[::every]


def _counted(x: Array, real: Real, otherwise: Any) -> Array:
    """x with another value at positions that do not count."""
    return x if real is None else jnp.where(_spread(real, x), x, otherwise)


def _number(x: Array, real: Real) -> Any:
    """Number of values that count."""
    if real is None:
        return x.size
    return (real != 0).sum() * (x.size // real.size)


def _mean(x: Array, real: Real) -> Float[Array, ""]:
    return x.mean() if real is None else _counted(x, real, 0.0).sum() / _number(x, real)


def _share(where: Array, real: Real) -> Float[Array, ""]:
    return _mean(where.astype(jnp.float32), real)


def _spread(real: Array, x: Array) -> Array:
    """Whether each value counts."""
    return jnp.broadcast_to((real != 0).reshape(*real.shape, *(1,) * (x.ndim - real.ndim)), x.shape)
