"""What a user's own code in a cell computes: its activation, model and task, as `models.identity` tells them."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lab.data.dataset import Dataset
from lab.experiment.serialization import ours
from models.activations import Activation
from models.identity import Identity, array_hash, traced


@dataclasses.dataclass(frozen=True)
class OwnTask:
    """What a user-defined task computes, and with which data."""

    identity: Identity
    dataset: Dataset
    batches: Callable[[str], Mapping[str, np.ndarray]]

    @cached_property
    def data(self) -> dict[str, str]:
        """SHA-256 of each array: of the splits, and of the batches on which they are evaluated."""
        arrays = {
            f"{split}.{field}": array_hash(array)
            for split, fields in self.dataset.arrays.items()
            for field, array in fields.items()
        }
        for split in sorted(set(self.dataset.arrays) - {"train"}):
            arrays |= {f"{split} batches.{field}": array_hash(array) for field, array in self.batches(split).items()}
        return arrays

    def to_json(self) -> dict[str, Any]:
        """What it computes, and the hashes of its data."""
        return {**self.identity.to_json(), "data": self.data}

    def difference(self, known: Mapping[str, Any]) -> str | None:
        """What tells this task from the one that has this JSON, in words; None if they are the same."""
        other = [name for name in {**known["data"], **self.data} if known["data"].get(name) != self.data.get(name)]
        if other:
            return f"other data in {', '.join(other)}"
        return self.identity.difference(known)


OwnCode = dict[str, Identity | OwnTask]


def own_code(model: Any, task: Any, batch_size: int, dataset: Dataset) -> OwnCode:
    """Those of "activation", "model" and "task" that are user-defined; built-in ones are not traced.

    Raises ValueError, in one sentence, for code that JAX cannot trace or that is not pure.
    """
    found: OwnCode = {}
    if isinstance(own := getattr(model, "activation", None), Activation) and not own.built_in:
        found["activation"] = own.identity
    if not ours(model) or not ours(task):
        task_owner = f"the task {task.name}"
        batch = traced(
            task_owner, jax.eval_shape, lambda arrays: task.batch(arrays, 0, 0, batch_size), dataset.arrays["train"]
        )
        inputs = _drawn(traced(task_owner, jax.eval_shape, task.inputs, batch))
    if not ours(model):
        found["model"] = traced(f"the model {type(model).__name__}", Identity, _network(model), np.uint32(0), *inputs)
    if not ours(task):
        outputs = _drawn(jax.eval_shape(lambda *arrays: _called(model, _init(model, 0, arrays), arrays), *inputs))
        found["task"] = traced(task_owner, _task_identity, task, batch_size, dataset, outputs)
    return found


def _network(model: Any) -> Callable[..., Any]:
    """Of its initial variables: outputs in evaluation, those in training weighed, and its slopes in every parameter."""

    def network(seed: Any, *inputs: Any) -> Any:
        variables = _init(model, seed, inputs)
        parameters, rest = variables.get("params", {}), {k: v for k, v in variables.items() if k != "params"}

        def trained(parameters: Any) -> Any:
            return _weighed(_called(model, {"params": parameters, **rest}, inputs, jax.random.key(seed)))

        return _called(model, variables, inputs), jax.value_and_grad(trained)(parameters)

    return network


def _init(model: Any, seed: Any, inputs: Any) -> dict[str, Any]:
    return dict(model.init({"params": jax.random.key(seed)}, *inputs))


def _called(model: Any, variables: Any, inputs: Any, dropout: Any = None) -> Any:
    """A model's outputs, in training if it is given a key for dropout and knows of training."""
    if dropout is None:
        outputs = model.apply(variables, *inputs)
    else:
        train = {"train": True} if "train" in inspect.signature(type(model).__call__).parameters else {}
        collections = [name for name in variables if name != "params"]
        outputs, _ = model.apply(variables, *inputs, **train, rngs={"dropout": dropout}, mutable=collections)
    return jnp.asarray(outputs) if hasattr(outputs, "__jax_array__") else outputs


def _task_identity(task: Any, batch_size: int, dataset: Dataset, outputs: Any) -> OwnTask:
    """For a batch: the model's inputs, the loss and its gradient in the outputs; metrics and their summary."""

    def batches(split: str) -> Mapping[str, np.ndarray]:
        return task.evaluation_batches(dataset.arrays[split], batch_size)

    first = {name: array[0] for name, array in batches("validation").items()}

    def whole(arrays: Any, seed: Any, step: Any, outputs: Any, evaluated: Any) -> Any:
        batch = task.batch(arrays, seed, step, batch_size)
        loss, back = jax.vjp(lambda outputs: task.loss(outputs, batch), outputs)
        sums = task.metrics(outputs, evaluated)
        means = {name: total / weight for name, (total, weight) in sums.items()}
        return task.inputs(batch), loss, _floating(back(jnp.ones_like(loss))), sums, task.summary(means)

    identity = Identity(whole, dataset.arrays["train"], np.uint32(1), np.int32(1), outputs, first)
    return OwnTask(identity, dataset, batches)


def _drawn(shapes: Any) -> Any:
    """Numbers of these shapes and dtypes: a wave, or 0 and 1 in turn."""

    def draw(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        index = np.arange(np.prod(shape.shape, dtype=int)).reshape(shape.shape)
        return (np.cos(index) if jnp.issubdtype(shape.dtype, jnp.inexact) else index % 2).astype(shape.dtype)

    return jax.tree.map(draw, shapes)


def _floating(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _weighed(tree: Any) -> Any:
    """One number that depends on every floating-point one of a tree, each in another way."""
    return sum(
        jnp.mean(leaf.astype(jnp.float32) * np.cos(np.arange(leaf.size, dtype=np.float32)).reshape(leaf.shape))
        for leaf in _floating(tree)
    )
