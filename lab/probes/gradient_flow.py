"""How gradients pass through the layers of a network: in closed form, and measured by vector-Jacobian products."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float, Shaped

from models.activations import Activation, activation
from models.layers.feedforward import FeedForward
from models.layers.hidden import Hidden
from models.layers.stack import Block, Stack, stacked, unstacked
from models.wide_resnet import Block as ConvolutionBlock

LAYERS = (Block, ConvolutionBlock, Hidden)
"""What counts as a layer, if it is not inside another one."""
Taps = dict[str, Array]


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
    activation it is that of the mean. The error is below 1e-4 (1e-3 if it is gated), mostly far below: Gauss-Legendre
    quadrature with 4 nodes in intervals that are narrow beside the density, so that kinks do little harm anywhere, and
    none at multiples of 1/8.

    Raises ValueError for an activation along an axis, such as softmax, whose outputs depend on more than one input.
    """
    f = activation(function)
    learned = {name: jnp.asarray(start, jnp.float32) for name, start in f.parameters} | parameters
    _check_pointwise(f, learned)
    nodes, weights = _quadrature(1 / 8 if f.gated else 1 / 64)
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
    model, variables = _scanned(model, variables)
    with jax.default_matmul_precision("float32"):
        return np.asarray(_partial_jacobians(model, variables, inputs, jax.random.split(key, cotangents)))


@functools.partial(jax.jit, static_argnums=0)
def _partial_jacobians(model: Any, variables: Any, inputs: Any, keys: Array) -> Float[Array, " layers_and_1"]:
    zeros = _layer_inputs(model, variables, inputs)
    *_, name = zeros
    last, backward = jax.vjp(lambda taps: _layer_pass(model, variables, inputs, taps)[name][1][-1], zeros)

    def squared(key: Array) -> Float[Array, " layers_and_1"]:
        cotangent = _normal(key, last)
        (gradient,) = backward(cotangent)
        energies = [*(_energies(gradient[name]) for name in zeros), _energy(cotangent)[None]]
        return jnp.concatenate(energies) / last.size

    return lax.map(squared, keys).mean(axis=0)


def layer_gains(
    model: Any, variables: Mapping[str, Any], *inputs: Any, key: Array, cotangents: int = 1
) -> Float[np.ndarray, " layers"]:
    """The gain of the squared gradient of each layer by itself, from its output to its input: `J^{l+1,l}`, estimated as
    in `partial_jacobians`, but with a random cotangent for every layer, so that their errors are independent.

    Raises ValueError for a model in which no layers are found.
    """
    model, variables = _scanned(model, variables)
    with jax.default_matmul_precision("float32"):
        return np.asarray(_layer_gains(model, variables, inputs, jax.random.split(key, cotangents)))


@functools.partial(jax.jit, static_argnums=0)
def _layer_gains(model: Any, variables: Any, inputs: Any, keys: Array) -> Float[Array, " layers"]:
    zeros = _layer_inputs(model, variables, inputs)

    def outputs(taps: Taps) -> list[Array]:
        return [output for _, output in _layer_pass(model, variables, inputs, taps, severed=True).values()]

    values, backward = jax.vjp(outputs, zeros)

    def squared(key: Array) -> Float[Array, " layers"]:
        (gradient,) = backward([_normal(jax.random.fold_in(key, i), value) for i, value in enumerate(values)])
        pairs = zip(zeros, values, strict=True)
        return jnp.concatenate([_energies(gradient[name]) / value[0].size for name, value in pairs])

    return lax.map(squared, keys).mean(axis=0)


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
    exceed 1. All positions count, also padding. Dropout is off.

    `task` is a `lab.tasks.task.Task`. Raises ValueError for a model in which no such layers are found.
    """
    model, variables = _unrolled(model, variables)
    with jax.default_matmul_precision("float32"):
        found = _negative_inputs(task, model, variables, dict(batch), below)
    return [{"layer": name, **{key: float(value) for key, value in row.items()}} for name, row in found.items()]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _negative_inputs(
    task: Any, model: Any, variables: Any, batch: Any, below: Array | float
) -> dict[str, dict[str, Float[Array, ""]]]:
    inputs = task.inputs(batch)

    def loss(taps: Taps) -> tuple[Array, Taps]:
        outputs, seen = _forward(model, variables, inputs, taps)
        return task.loss(outputs, batch), seen

    gradient, seen = jax.grad(loss, has_aux=True)(_zeros(model, variables, inputs))
    rows = {}
    for layer in dict.fromkeys(name.rpartition("/")[0] for name in seen):
        maps = [name for name in ("gate", "up") if f"{layer}/{name}" in seen]
        z = seen[f"{layer}/{maps[0]}"].astype(jnp.float32)
        where = z < below
        whole = _energy(gradient[f"{layer}/hidden"])
        arriving = _energy(gradient[f"{layer}/hidden"], where)
        leaving = sum(_energy(gradient[f"{layer}/{name}"], where) for name in maps)
        rows[layer] = {
            "mean": z.mean(),
            "std": z.std(),
            "share_below": where.mean(),
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


def _unrolled(model: Any, variables: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The network with its layers one by one: values inside a scan or a rematerialized block cannot be taken out."""
    if not isinstance(model, Stack):
        return model, dict(variables)
    params = unstacked(variables["params"]) if model.scan else variables["params"]
    return model.clone(scan=False, remat=False), {**variables, "params": params}


def _scanned(model: Any, variables: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The network with the layers of a Transformer as a loop, which compiles in a time that does not grow with them."""
    if not isinstance(model, Stack):
        return model, dict(variables)
    params = variables["params"] if model.scan else stacked(variables["params"])
    return model.clone(scan=True, remat=False), {**variables, "params": params}


def _layer_inputs(model: Any, variables: Any, inputs: Any) -> Taps:
    """Zeros like the inputs of all layers, in the order of the forward pass."""
    order: list[str] = []  # of which JAX keeps none in a dict

    def values(variables: Any, inputs: Any) -> list[Array]:
        found = _layer_pass(model, variables, inputs)
        order.extend(found)
        return [value for value, _ in found.values()]

    shapes = jax.eval_shape(values, variables, inputs)
    if not shapes:
        raise ValueError(
            f"gradients cannot be followed through {type(model).__name__}, in which no layers are found: it must be "
            f"made of {', '.join(f'{kind.__module__}.{kind.__qualname__}' for kind in LAYERS)}"
        )
    return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in zip(order, shapes, strict=True)}


def _layer_pass(
    model: Any, variables: Any, inputs: Any, taps: Taps | None = None, severed: bool = False
) -> dict[str, tuple[Array, Array]]:
    """Inputs and outputs of all layers, [layers, ...] of each loop or single layer, by its path.

    `taps` are added to the inputs. Severed, no gradient passes from one layer to another. Values inside a loop can be
    reached only through Flax's collections.
    """
    paths: list[tuple[str, ...]] = []
    inside: list[nn.Module] = []

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if context.method_name != "__call__" or not isinstance(module, LAYERS) or inside:
            return call(*args, **kwargs)
        if module.path not in paths:  # a loop's body is traced more than once
            paths.append(module.path)
        x, *others = args
        module.sow("intermediates", "layer_input", x)
        if module.has_variable("taps", "input"):
            x = (lax.stop_gradient(x) if severed else x) + module.get_variable("taps", "input")
        inside.append(module)
        y = call(x, *others, **kwargs)
        inside.pop()
        module.sow("intermediates", "layer_output", y)
        return y

    looped = isinstance(model, Stack)
    added = {(*name.split("/"), "input"): tap if looped else tap[0] for name, tap in (taps or {}).items()}
    given = {**variables, "taps": unflatten_dict(added)}
    with nn.intercept_methods(intercept):
        _, found = model.apply(given, *inputs, mutable=["intermediates"])
    sown = flatten_dict(found.get("intermediates", {}))
    pairs = {path: [sown[*path, f"layer_{side}"][0] for side in ("input", "output")] for path in paths}
    return {"/".join(path): (x, y) if looped else (x[None], y[None]) for path, (x, y) in pairs.items()}


def _sites(module: nn.Module) -> tuple[str | None, str | None]:
    """Names of what is tapped of a module: its input, its output. They are the values before and after activations."""
    path = "/".join(module.path)
    inner = isinstance(module.parent, FeedForward | Hidden)
    if inner and module.name in ("gate", "up"):
        return None, path
    if inner and module.name == "down":
        return f"{path.rpartition('/')[0]}/hidden", None
    return None, f"{path}/hidden" if isinstance(module, Hidden) else None


def _forward(model: Any, variables: Any, inputs: Any, taps: Taps | None = None) -> tuple[Any, Taps]:
    """The model's outputs, and the values before and after the activations, to which those of `taps` are added."""
    seen: Taps = {}

    def tapped(name: str | None, value: Array) -> Array:
        if name is None:
            return value
        seen[name] = value if taps is None else value + taps[name]
        return seen[name]

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        before, after = _sites(context.module)
        if before is not None:
            args = (tapped(before, args[0]), *args[1:])
        return tapped(after, call(*args, **kwargs))

    with nn.intercept_methods(intercept):
        outputs = model.apply(variables, *inputs)
    return outputs, seen


def _zeros(model: Any, variables: Any, inputs: Any) -> Taps:
    """Zeros like all values before and after activations."""
    shapes = jax.eval_shape(lambda *given: _forward(model, *given)[1], variables, inputs)
    if not shapes:
        raise ValueError(
            f"{type(model).__name__} has no feed-forward layers whose inputs could be looked at: they must be made of "
            f"models.layers.feedforward.FeedForward or models.layers.hidden.Hidden"
        )
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
