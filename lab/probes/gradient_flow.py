"""How gradients pass through the layers of a network: in closed form, and measured by vector-Jacobian products."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped

from models.activations import Activation, activation
from models.layers.telemetry import moments
from models.taps import Taps, activation_taps, around_activations, layer_inputs, layers, scanned, unrolled

Estimate = Callable[[Array], Float[Array, " norms"]]
"""Squared norms of gradients, for the key of a random cotangent."""
Norms = Callable[[Callable[..., Any], Taps], Estimate]
"""The estimate, given a function of the taps that runs the layers, and taps of zeros."""


def chi(function: str | Activation, std: float = 1.0, width: int | None = None, **parameters: Any) -> float:
    """Gain of the squared gradient of a wide layer: `std^2 E f'(z)^2 / E f(z)^2`, z ~ normal(0, std).

    This is the factor from a layer's output to the output of the layer before, where layers normalize their input to
    mean square 1, have independent weights of mean 0 that give pre-activations of this standard deviation, and no
    residual (mean-field theory; Poole et al. 2016, arXiv:1606.05340; Doshi et al. 2021, arXiv:2111.12143). Of a given
    width n it is the mean over weights, to first order in 1/n: the mean square of n values f(z), by which RMSNorm
    divides, varies, which adds (k - 1)/n of the gain, k = E f(z)^4 / (E f(z)^2)^2; RMSNorm also removes one of the n
    directions.

    A gated activation f(gate, value) has independent gate and value, and both of its slopes count: for a product
    g(gate) value this is 1 + chi(g). Learned parameters have their initial values unless given. Of a stochastic
    activation it is that of the mean. By Gauss-Legendre quadrature with 4 nodes in narrow intervals, so that kinks do
    little harm: errors are 1e-6 for smooth functions and for kinks at multiples of 1/8, and up to 5e-4 for other kinks
    (1e-2 if it is gated).

    Raises ValueError for an activation along an axis, such as softmax, whose outputs depend on more than one input.
    """
    f = activation(function)
    learned = {name: jnp.asarray(start, jnp.float32) for name, start in f.parameters} | parameters
    _check_pointwise(f, learned)
    nodes, weights = _quadrature(1 / 8 if f.gated else 1 / 512)
    inputs, weight = [nodes], weights
    if f.gated:
        inputs = [side.ravel() for side in np.meshgrid(nodes, nodes)]
        weight = np.outer(weights, weights).ravel()
    given = [jnp.asarray(std * side, jnp.float32) for side in inputs]
    values, backward = jax.vjp(lambda *z: f(*z, **learned), *given)
    slopes = backward(jnp.ones_like(values))
    above = sum(weight @ np.square(np.asarray(slope, np.float64)) for slope in slopes)
    square = np.square(np.asarray(values, np.float64))
    second, fourth = weight @ square, weight @ np.square(square)
    finite = 0 if width is None else (fourth / second**2 - 2) / width
    return float(std**2 * above / second * (1 + finite))


def _check_pointwise(f: Activation, learned: Mapping[str, Any]) -> None:
    z = [jnp.linspace(-2, 2, 5) for _ in range(2 if f.gated else 1)]
    along = f(*z, **learned)
    alone = f(*(side[:, None] for side in z), **learned)[:, 0]
    if not np.allclose(along, alone, rtol=1e-4, atol=1e-6):
        raise ValueError(
            f"chi is not defined for activation '{f.name}', whose outputs depend on more than one input: give a "
            f"pointwise or gated one"
        )


def _quadrature(width: float, end: float = 9.0) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Nodes, and weights with the normal density, in intervals of a width from -end to end."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    edges = np.arange(-end, end, width)
    places = (edges[:, None] + width * (nodes + 1) / 2).ravel()
    weights = np.tile(weights * width / 2, len(edges)) * np.exp(-(places**2) / 2)
    return places, weights / weights.sum()


def partial_jacobians(
    model: Any, variables: Mapping[str, Any], *inputs: Any, key: Array, cotangents: int = 1
) -> Float[np.ndarray, " layers_and_1"]:
    """Averaged partial Jacobian norms `J^{L,l} = E ||dh^L/dh^l||_F^2 / N_L` for l = 0 to L, so that the last one is
    about 1 (Doshi et al. 2021, arXiv:2111.12143, eq. 5; there `J^{l0,l}`).

    h^l is the input of layer l + 1, which is the output of layer l, h^L the output of the last one, and N_L the number
    of its values, over all examples and positions. Layers are the blocks of a Transformer or Wide ResNet, and the
    hidden layers of others. The squared norm is the mean of `||v^T dh^L/dh^l||^2` over random cotangents v ~ normal(0,
    I): one backward pass gives all layers, so its errors are shared by neighbouring layers. Dropout is off.

    Raises ValueError for a model in which no layers are found.
    """
    return _averaged(_of_the_last_layer, model, variables, inputs, key, cotangents)


def layer_gains(
    model: Any, variables: Mapping[str, Any], *inputs: Any, key: Array, cotangents: int = 1
) -> Float[np.ndarray, " layers"]:
    """The gain of the squared gradient of each layer by itself, from its output to its input: `J^{l+1,l}`, estimated as
    in `partial_jacobians`, but with a random cotangent for every layer, so that their errors are independent.

    Raises ValueError for a model in which no layers are found.
    """
    return _averaged(_of_each_layer, model, variables, inputs, key, cotangents)


def _averaged(
    norms: Norms, model: Any, variables: Mapping[str, Any], inputs: Any, key: Array, cotangents: int
) -> Float[np.ndarray, " norms"]:
    model, variables = scanned(model, variables)
    with jax.default_matmul_precision("float32"):
        return np.asarray(_mean_over(jax.random.split(key, cotangents), norms, model, variables, inputs))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _mean_over(keys: Array, norms: Norms, model: Any, variables: Any, inputs: Any) -> Float[Array, " norms"]:
    estimate = norms(functools.partial(layers, model, variables, inputs), layer_inputs(model, variables, inputs))
    return lax.map(estimate, keys).mean(axis=0)


def _of_the_last_layer(run: Callable[..., Any], zeros: Taps) -> Estimate:
    """The squared norms of gradients of the last layer's output in the inputs of all layers, and in itself."""
    *_, name = zeros
    last, backward = jax.vjp(lambda taps: run(taps)[name][1][-1], zeros)

    def estimate(key: Array) -> Float[Array, " layers_and_1"]:
        cotangent = _normal(key, last)
        (gradient,) = backward(cotangent)
        energies = [*(_energies(gradient[name]) for name in zeros), _energy(cotangent)[None]]
        return jnp.concatenate(energies) / last.size

    return estimate


def _of_each_layer(run: Callable[..., Any], zeros: Taps) -> Estimate:
    """The squared norms of gradients of the output of every layer in its own input."""
    values, backward = jax.vjp(lambda taps: [output for _, output in run(taps, severed=True).values()], zeros)

    def estimate(key: Array) -> Float[Array, " layers"]:
        (gradient,) = backward([_normal(jax.random.fold_in(key, i), value) for i, value in enumerate(values)])
        pairs = zip(zeros, values, strict=True)
        return jnp.concatenate([_energies(gradient[name]) / value[0].size for name, value in pairs])

    return estimate


def negative_inputs(
    task: Any,
    model: Any,
    variables: Mapping[str, Any],
    batch: Mapping[str, Shaped[Any, "batch_size *_"]],
    below: float = -4.0,
) -> list[dict[str, Any]]:
    """What the loss's gradient loses at very negative inputs of the activation: one row per feed-forward layer.

    layer: its path. mean, std: of the pre-activations z, of a gated layer those of the gate. share_below: share of
    z < below; of a normal z of mean 0 and variance 1 that is 3.2e-5 below -4. arriving: share of the squared gradient
    at the hidden values (after the activation) that arrives where z < below. lost: the same less the squared gradient
    that leaves from there, before the activation (gate and value of a gated layer), so that it is negative where slopes
    exceed 1. Padding of sequences is left out. Dropout is off.

    `task` is a `lab.tasks.task.Task`. Raises ValueError for a model in which no such layers are found.
    """
    model, variables = unrolled(model, variables)
    with jax.default_matmul_precision("float32"):
        found = _negative_inputs(task, model, variables, dict(batch), below)
    return [{"layer": name, **{key: float(value) for key, value in row.items()}} for name, row in found.items()]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _negative_inputs(
    task: Any, model: Any, variables: Any, batch: Any, below: Array | float
) -> dict[str, dict[str, Float[Array, ""]]]:
    inputs = task.inputs(batch)

    def loss(taps: Taps) -> tuple[Array, tuple[Taps, Taps]]:
        outputs, seen, real = around_activations(model, variables, inputs, taps)
        return task.loss(outputs, batch), (seen, real)

    gradient, (seen, real) = jax.grad(loss, has_aux=True)(activation_taps(model, variables, inputs))
    rows = {}
    for layer in dict.fromkeys(name.rpartition("/")[0] for name in seen):
        maps = [name for name in ("gate", "up") if f"{layer}/{name}" in seen]
        z = seen[f"{layer}/{maps[0]}"].astype(jnp.float32)
        counted = jnp.broadcast_to(real[layer][..., None] != 0 if layer in real else True, z.shape)
        where = (z < below) & counted
        whole = _energy(gradient[f"{layer}/hidden"], counted)
        arriving = _energy(gradient[f"{layer}/hidden"], where)
        leaving = sum(_energy(gradient[f"{layer}/{name}"], where) for name in maps)
        mean, std = moments(z, real.get(layer))
        rows[layer] = {
            "mean": mean,
            "std": std,
            "share_below": jnp.where(jnp.isnan(mean), jnp.nan, where.sum() / counted.sum()),
            "arriving": arriving / whole,
            "lost": (arriving - leaving) / whole,
        }
    return rows


def _energies(gradient: Array) -> Float[Array, " layers"]:
    return jax.vmap(_energy)(gradient)


def _normal(key: Array, like: Array) -> Array:
    return jax.random.normal(key, like.shape, like.dtype)


def _energy(gradient: Array, where: Any = True) -> Float[Array, ""]:
    return jnp.where(where, jnp.square(gradient.astype(jnp.float32)), 0.0).sum()
