"""Slowly-changing regression: a stream of examples, most of whose bits change only now and then."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from lab.data.dataset import SPLITS, Dataset
from lab.data.order import drawn
from lab.files import checksums
from lab.tasks.examples import Examples, in_batches, weighted

BETA = 0.7
MOST_FAST = 12  # bits, all values of which are tabulated


class Target(NamedTuple):
    """A network of linear threshold units with weights +1 and -1, of bits (Dohare et al. 2024, "Methods").

    A unit is 1 if its sum of m weighted bits and its bias exceeds `BETA` (m + 1) - S, and else 0, where S is the number
    of -1 among its weights, plus its bias where that is negative: (m - sum of the weights + bias) / 2 in the published
    code, lop/nets/fix_ltu_net.py.
    """

    weights: Float[np.ndarray, "units bits"]
    biases: Float[np.ndarray, " units"]
    output_weights: Float[np.ndarray, " units"]
    output_bias: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, bits: int, units: int) -> "Target":
        """A network with random weights and biases."""

        def signs(*shape: int) -> Float[np.ndarray, "..."]:
            return 2 * rng.integers(0, 2, shape).astype(np.float32) - 1

        return cls(signs(units, bits), signs(units), signs(units), float(signs(1)[0]))

    @property
    def thresholds(self) -> Float[np.ndarray, " units"]:
        """What the sum of a unit, with its bias, must exceed."""
        bits = self.weights.shape[1]
        return BETA * (bits + 1) - (bits - self.weights.sum(axis=1) + self.biases) / 2

    def __call__(self, x: Float[np.ndarray, "rows bits"]) -> Float[np.ndarray, " rows"]:
        """The outputs."""
        on = x @ self.weights.T + self.biases > self.thresholds
        return on.astype(np.float32) @ self.output_weights + np.float32(self.output_bias)


@dataclass(frozen=True)
class SlowlyChanging(Examples):
    """Predict what a fixed random network (`Target`) says of bits, of which most rarely change: the slowly-changing
    regression of Dohare et al. (2024), "Loss of plasticity in deep continual learning", Nature 632.

    The first `slow` bits of the input are drawn anew every `period` examples, the last `fast` for every example. Every
    seed has its own network and its own values of the slow bits, those of seed modulo `problems`; after `changes`
    values they begin again. No example is seen before it is trained on, so that the loss of training is the online
    error. Validation and test are problem 0's inputs of the first period, which say nothing of the other seeds. Raises
    ValueError for a number out of range.
    """

    directions: ClassVar[Mapping[str, str]] = {}

    slow: int = 15
    """Bits that change every `period` examples."""
    fast: int = 5
    """Bits that are drawn for every example."""
    period: int = 10_000
    """Examples between two changes."""
    changes: int = 100
    """Number of values of the slow bits."""
    units: int = 100
    """Units of the target network."""
    problems: int = 100
    """Number of target networks."""

    def __post_init__(self) -> None:
        for name in ("slow", "fast", "period", "changes", "units", "problems"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.fast > MOST_FAST:
            raise ValueError(f"fast must be at most {MOST_FAST} bits, not {self.fast}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return "slowly_changing"

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The problems: `bits`, f32 [problems, changes, slow], and `targets`, f32 [problems, changes, 2**fast], one for
        each value of the fast bits."""
        made = [self._problem(number) for number in range(self.problems)]
        train = {name: np.stack([one[name] for one in made]) for name in ("bits", "targets")}
        held_out = {name: rows[:1] for name, rows in train.items()}
        arrays = dict(zip(SPLITS, (train, held_out, held_out), strict=True))
        return Dataset(arrays, {"name": self.name, "version": "1.0.0", "splits": checksums.described(arrays)})

    def _problem(self, number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        target = Target.drawn(rng, self.slow + self.fast, self.units)
        bits = rng.integers(0, 2, (self.changes, self.slow)).astype(np.float32)
        fast = _bits(np.arange(2**self.fast), self.fast)
        inputs = np.concatenate([np.repeat(bits, len(fast), axis=0), np.tile(fast, (self.changes, 1))], axis=1)
        return {"bits": bits, "targets": target(inputs).reshape(self.changes, -1)}

    def check(self, dataset: Dataset) -> None:
        """All streams are endless."""

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """The next examples of the stream: `x`, f32 [batch_size, slow + fast], and `y`, f32 [batch_size]."""
        xp = jnp if any(isinstance(value, jax.Array) for value in (seed, step)) else np
        place = xp.asarray(step, xp.uint32) * np.uint32(batch_size) + np.arange(batch_size, dtype=np.uint32)
        change = (place // np.uint32(self.period) % np.uint32(self.changes)).astype(int)
        problem = (xp.asarray(seed, xp.uint32) % np.uint32(self.problems)).astype(int)
        value = drawn(2**self.fast, seed, place)
        slow = arrays["bits"][problem, change]
        x = slow.__array_namespace__().concat([slow, _bits(value, self.fast)], axis=-1)
        return {"x": x, "y": arrays["targets"][problem, change, value]}

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Float[Array, "batch bits"]]:
        """The bits."""
        return (batch["x"],)

    def loss(self, outputs: Float[Array, "batch 1"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean squared error."""
        return jnp.mean(jnp.square(outputs[:, 0] - batch["y"]))

    def evaluation_batches(self, arrays: Mapping[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        """The inputs of a split's first problem and period: fields of a batch, [n_batches, batch_size, ...]."""
        values = np.arange(2**self.fast)
        slow = np.broadcast_to(arrays["bits"][0, 0], (len(values), self.slow))
        x = np.concatenate([slow, _bits(values, self.fast)], axis=1)
        rows = {"x": x, "y": arrays["targets"][0, 0], "weight": np.ones(len(values), np.float32)}
        return in_batches(rows, batch_size)

    def metrics(self, outputs: Float[Array, "batch 1"], batch: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """`loss`, the squared error, summed, and the number of examples."""
        return {"loss": weighted(jnp.square(outputs[:, 0] - batch["y"]), batch["weight"])}


def _bits(values: Integer[Any, "*rows"], count: int) -> Float[Any, "*rows count"]:
    """The binary digits of numbers, the lowest first."""
    places = np.arange(count).reshape(*(1,) * values.ndim, -1)
    return (values[..., None] >> places & 1).astype(np.float32)
