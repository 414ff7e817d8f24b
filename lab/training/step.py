"""One training run as pure functions: init, train_interval, evaluate. No jit, no vmap: see `lab.training.runs`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Integer

from lab.tasks.task import Stream, Sums, Task, measured, of_each_token, stream_key
from lab.training.optimizers import optimizer
from lab.training.settings import Hyperparameters, Settings
from models.model import training_options

PEAK = "largest_"
"""Prefix of a training metric: its largest value over the steps of an interval."""

CONSTANT = "activation_constant"
"""A layer's parameter that is not learned, see `models.activations.Activation`, and the hyperparameter that sets it."""

Data = dict[str, dict[str, Array]]
"""Training data: the split `train`, field -> array; or a `window`, the next batches as read by the host, field -> array
[steps, batch_size, ...]."""


@struct.dataclass
class State:
    """The state that training carries from step to step.

    It has no key and no step counter: keys are derived from (seed, stream, step), and the step is an argument shared by
    all runs, so that values that depend on it are not computed per run.
    """

    parameters: Any
    optimizer_state: Any
    collections: Any  # Flax's other collections, such as batch statistics


def init(
    model: Any,
    task: Task,
    settings: Settings,
    seed: Integer[Array, ""],
    hyperparameters: Hyperparameters,
    data: Data,
) -> State:
    """The state at step 0, determined by the seed: equal paths and shapes have equal weights in every model."""
    batch = _batch(task, settings, data, seed, 0, 0, 1)
    own = seed if settings.init_seed is None else settings.init_seed
    variables = dict(model.init({"params": stream_key(own, Stream.INIT)}, *task.inputs(batch)))
    parameters = with_constant(variables.pop("params"), hyperparameters.activation_constant)
    return State(parameters, optimizer(settings, hyperparameters).init(parameters), variables)


def with_constant(parameters: Any, constant: Float[Array, ""] | float | None) -> Any:
    """The parameters with the constant of the activation in every layer; None: unchanged."""
    if constant is None:
        return parameters

    def changed(path: Any, leaf: Array) -> Array:
        return jnp.full_like(leaf, constant) if path[-1].key == CONSTANT else leaf

    return jax.tree_util.tree_map_with_path(changed, parameters)


def train_interval(
    model: Any,
    task: Task,
    settings: Settings,
    state: State,
    start: Integer[Array, ""],
    length: Integer[Array, ""],
    seed: Integer[Array, ""],
    hyperparameters: Hyperparameters,
    data: Data,
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """Train `length` steps from step `start` on; the length is traced, so a shorter last interval needs no compilation.

    Returns the new state and, over the interval, the mean and largest training loss (of each batch before its update,
    with or without dropout according to `settings.training_loss`), the mean and largest gradient norm before clipping,
    and the number of steps whose loss or gradient was not finite.
    """
    update = optimizer(settings, hyperparameters).update

    def body(index, carry):
        before, totals, peaks = carry
        step = start + index
        batch = _batch(task, settings, data, seed, step, index, settings.batch_size)
        loss, collections, gradient = _gradient(model, task, settings, before, step, seed, batch)
        norm = optax.tree.norm(gradient)
        updates, optimizer_state = update(gradient, before.optimizer_state, before.parameters)
        bad = ~(jnp.isfinite(loss) & jnp.isfinite(norm))
        if settings.training_loss == "without_dropout":
            loss = _loss_without_dropout(model, task, before, batch)
        seen = {"loss": loss, "gradient_norm": norm}
        totals = jax.tree.map(jnp.add, totals, {**seen, "not_finite": bad.astype(jnp.float32)})
        peaks = jax.tree.map(jnp.maximum, peaks, {f"{PEAK}{name}": value for name, value in seen.items()})
        return State(optax.apply_updates(before.parameters, updates), optimizer_state, collections), totals, peaks

    zeros = {name: jnp.zeros(()) for name in ("loss", "gradient_norm", "not_finite")}
    lowest = {f"{PEAK}{name}": jnp.full((), -jnp.inf) for name in ("loss", "gradient_norm")}
    state, totals, peaks = lax.fori_loop(0, length, body, (state, zeros, lowest))
    steps = length.astype(jnp.float32)
    means = {"loss": totals["loss"] / steps, "gradient_norm": totals["gradient_norm"] / steps}
    return state, {**means, **peaks, "not_finite": totals["not_finite"]}


def evaluate(model: Any, task: Task, state: State, batches: dict[str, Array]) -> tuple[Sums, Sums]:
    """The task's metrics over `batches` (arrays [n_batches, batch_size, ...]), dropout off, as sums and weights; and
    those of each example, [n_batches, batch_size], as `lab.tasks.task.measured` has them. Padding weighs 0."""
    variables = {"params": state.parameters, **state.collections}

    def of_batch(batch):
        return measured(task, model.apply(variables, *task.inputs(batch)), batch)

    def body(totals, batch):
        whole, examples = of_batch(batch)
        return jax.tree.map(jnp.add, totals, whole), examples

    shapes, _ = jax.eval_shape(of_batch, jax.tree.map(lambda array: array[0], batches))
    return lax.scan(body, jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes), batches)


def _batch(task, settings, data, seed, step, index, batch_size):
    """The batch of a step: from the data on the device, or from the window at the step's index."""
    if "window" not in data:
        own = seed if settings.order_seed is None else settings.order_seed
        return task.batch(data["train"], own, step, batch_size)
    return jax.tree.map(lambda batches: batches[index][:batch_size], data["window"])


def _gradient(model, task, settings, state, step, seed, batch):
    """Loss, new collections and gradient of one batch, in `settings.accumulate` equal parts."""
    if settings.accumulate == 1:
        return _part(model, task, settings, state.parameters, state.collections, batch, step, 0, seed)
    parts = jax.tree.map(lambda x: x.reshape(settings.accumulate, -1, *x.shape[1:]), batch)

    def body(carry, indexed):
        loss, collections, gradient = carry
        index, part = indexed
        more, collections, direction = _part(
            model, task, settings, state.parameters, collections, part, step, index, seed
        )
        return (loss + more, collections, jax.tree.map(jnp.add, gradient, direction)), None

    zeros = (jnp.zeros(()), state.collections, jax.tree.map(jnp.zeros_like, state.parameters))
    (loss, collections, gradient), _ = lax.scan(body, zeros, (jnp.arange(settings.accumulate), parts))
    return loss / settings.accumulate, collections, jax.tree.map(lambda x: x / settings.accumulate, gradient)


def _part(model, task, settings, parameters, collections, batch, step, index, seed):
    """Loss, new collections and gradient of one part of a batch; each part draws its own dropout."""
    key = jax.random.fold_in(stream_key(seed, Stream.DROPOUT, step), index)

    def objective(parameters):
        outputs, updated = model.apply(
            {"params": parameters, **collections},
            *task.inputs(batch),
            **training_options(model),
            rngs={"dropout": key},
            mutable=list(collections),
        )
        loss = task.loss(outputs, batch)
        return loss + _z_loss(outputs, settings.z_loss), (loss, {**collections, **updated})

    (_, (loss, collections)), gradient = jax.value_and_grad(objective, has_aux=True)(parameters)
    return loss, collections, gradient


def _loss_without_dropout(model, task, state, batch):
    """The loss of a training batch with the network in evaluation mode."""
    outputs = model.apply({"params": state.parameters, **state.collections}, *task.inputs(batch))
    return task.loss(outputs, batch)


def _z_loss(logits: Any, weight: float) -> Float[Array, ""] | float:
    """PaLM's z-loss (Chowdhery et al. 2022, section 5) keeps the log-normalizer near zero; weight 0 costs nothing."""
    if not weight:
        return 0.0
    return weight * jnp.mean(jnp.square(of_each_token(partial(jax.nn.logsumexp, axis=-1), logits)))
