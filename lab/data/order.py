"""The order of examples: an integer bijection for each (seed, epoch), the same in NumPy and under jit."""

from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Int, Integer

ROUNDS = 48
"""A pair of examples keeps its distance through all rounds with probability 2**-48: never, below 2**31 examples."""


def shuffled(
    position: int | Integer[Any, "*shape"],
    size: int,
    seed: int | Integer[Any, "..."],
    epoch: int | Integer[Any, ""] | Integer[Any, "*shape"],
) -> Int[Any, "..."]:
    """The example at a position of an epoch; over all positions, every number in [0, size) occurs exactly once.

    Positions lie in [0, size) and size in [1, 2**31]; seed and epoch are 32-bit numbers. Epochs may differ per
    position, and seeds [n, 1] return n rows. NumPy arguments return NumPy (int64); if any argument is a JAX array, the
    result is JAX (int32) and the function can be jitted and vmapped.

    Swap-or-not (Hoang, Morris and Rogaway 2012, "An enciphering scheme based on a card shuffle"): each round pairs x
    with key - x modulo the size, and a hash of the larger one decides whether they are swapped. The keys of all rounds
    are derived from two numbers, so a round costs two hashes per position. It works for any size, whereas a cipher on
    powers of two needs cycle walking, a loop of unknown length on a GPU.
    Raises ValueError for a size out of range.
    """
    if not 1 <= size <= 2**31:
        raise ValueError(f"size is {size}: it must be 1 to 2**31")
    xp = _namespace(position, seed, epoch)
    swap = partial(_swap, xp, np.uint32(size), _key(xp, 1, seed, epoch), _key(xp, 2, seed, epoch))
    x = xp.asarray(position, xp.uint32)
    constants = _hash(np.arange(1, ROUNDS + 1, dtype=np.uint32))
    if xp is np:
        return reduce(swap, constants, x).astype(int)
    # A loop, as fusing all rounds takes long to compile; partly unrolled, as each iteration costs a kernel launch.
    return lax.scan(lambda x, constant: (swap(x, constant), None), x, constants, unroll=8)[0].astype(int)


def drawn(size: int, seed: int | Integer[Any, "..."], epoch: int | Integer[Any, "..."]) -> Int[Any, "..."]:
    """A number in [0, size) for each epoch, unrelated to the epoch's order."""
    return (_key(_namespace(seed, epoch), 0, seed, epoch) % np.uint32(size)).astype(int)


@np.errstate(over="ignore")
def places(step: int | Integer[Any, ""], batch_size: int, size: int) -> tuple[Any, Any]:
    """Positions and epochs, both uint32 [batch_size], of a training step's examples, with `size` examples per epoch.

    Batches follow each other without a gap, so a batch may span two epochs. After 2**32 examples the order repeats.
    """
    xp = _namespace(step)
    place = xp.asarray(step, xp.uint32) * np.uint32(batch_size) + np.arange(batch_size, dtype=np.uint32)
    return place % np.uint32(size), place // np.uint32(size)


def batch_indices(
    step: int | Integer[Any, ""], batch_size: int, size: int, seed: int | Integer[Any, "..."]
) -> Int[Any, "*seeds batch_size"]:
    """The examples of a training step: each occurs once per epoch, and every epoch is reshuffled."""
    position, epoch = places(step, batch_size, size)
    return shuffled(position, size, seed, epoch)


def _namespace(*values: Any) -> Any:
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


@np.errstate(over="ignore")
def _key(xp: Any, use: int, seed: Any, epoch: Any) -> Any:
    """A 32-bit number per epoch, independent between uses."""
    seed, epoch = xp.asarray(seed, xp.uint32), xp.asarray(epoch, xp.uint32)
    return _hash(_hash(_hash(np.uint32(use)) ^ seed) + epoch)


@np.errstate(over="ignore")
def _swap(xp: Any, size: np.uint32, pairing: Any, swapping: Any, x: Any, constant: Any) -> Any:
    """One round, defined by a constant and the keys of pairing and swapping: each x or its partner."""
    key = _hash(pairing ^ constant) % size
    partner = xp.minimum(key - x, key - x + size)  # modulo size: negative numbers wrap to above 2**31
    return xp.where(_hash(xp.maximum(x, partner) ^ swapping ^ constant) & 1 == 1, partner, x)


@np.errstate(over="ignore")
def _hash(x: Any) -> Any:
    """A bijection of 32-bit numbers without visible structure: the finaliser of MurmurHash3 (Appleby 2011)."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
