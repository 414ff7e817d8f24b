"""The contract between a model and what trains it: the Model protocol, and what holds where a model says nothing."""

import dataclasses
import inspect
from typing import Any, Protocol, TypeVar

import flax.linen as nn

from models.activations import Activation, activation


class Model(Protocol):
    """What is trained: a Flax module with a field `activation`, which an experiment varies.

    Nothing of this project has to be inherited. `__call__` takes the task's inputs and gives what its loss takes; in an
    experiment the field holds an `Activation`, even where it was given by name. Optional are:

    - an argument `train` of `__call__`, which is True in training: for dropout, which draws from the key "dropout".
    - `check(length)`, which raises ValueError for fields that are not allowed; `length` is that of the task's examples,
      or None.
    - `vocab_size`, the number of tokens that it reads: then it is at least the task's.
    - `hidden_width`, the width of its feed-forward layers, for the table of costs.
    """

    activation: Any

    def init(self, rngs: Any, *inputs: Any) -> Any:
        """The variables that a run begins with: Flax's own method."""
        ...

    def apply(self, variables: Any, *inputs: Any) -> Any:
        """The outputs: Flax's own method."""
        ...


ModelT = TypeVar("ModelT", bound=nn.Module)


def check_model(model: Any) -> None:
    """Raises ValueError, in one sentence, for what is no model."""
    if not isinstance(model, nn.Module):
        hint = f"; did you mean {model.__name__}()?" if isinstance(model, type) else ""
        raise ValueError(f"model is {model!r}: it must be a Flax module (flax.linen.Module){hint}")
    if "activation" not in {field.name for field in dataclasses.fields(model)}:
        raise ValueError(
            f"model {type(model).__name__} has no field 'activation': give it one, such as `activation: Any = 'gelu'`, "
            f"and use it in the forward pass"
        )


def check_fields(model: Any, length: int | None = None) -> None:
    """Raises ValueError for fields that the model does not allow, and for examples of a length that it does not take;
    a model without a method `check` allows all."""
    if hasattr(model, "check"):
        model.check(length)


def with_activation(model: ModelT, new: str | Activation) -> ModelT:
    """The model with another activation, as a value even where it is given by name."""
    return model.clone(activation=activation(new))


def training_options(model: Any) -> dict[str, bool]:
    """What a call in training is given beside its inputs: `train=True`, if the model takes it."""
    known = inspect.signature(type(model).__call__).parameters.values()
    takes = any(one.name == "train" or one.kind is inspect.Parameter.VAR_KEYWORD for one in known)
    return {"train": True} if takes else {}
