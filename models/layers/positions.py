"""Position encodings: sinusoids, rotary angles and their scaling, ALiBi slopes, relative buckets."""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

Positions = Literal["learned", "rotary", "alibi", "relative", "sinusoidal", "none"]
ScalingKind = Literal["linear", "llama3", "yarn"]


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are lowered to extend a context of `original_context` tokens by `factor`.

    "linear" divides all frequencies (Chen et al. 2023, arXiv:2306.15595); "llama3" only those that turn fewer than
    `low_turns` times within the original context, and interpolates up to `high_turns` (Grattafiori et al. 2024,
    arXiv:2407.21783); "yarn" interpolates over a ramp of the frequency's index instead, and multiplies queries and keys
    by `magnitude` (Peng et al. 2023, arXiv:2309.00071), by default 0.1 ln(factor) + 1. Raises ValueError for a number
    out of range.
    """

    kind: ScalingKind
    factor: float
    original_context: int = 8192
    low_turns: float = 1.0
    high_turns: float = 4.0
    magnitude: float | None = None
    truncate: bool = True
    """Round the ends of yarn's ramp outwards to whole indices, as the authors do."""

    def __post_init__(self) -> None:
        for name in ("factor", "original_context", "low_turns"):
            if not getattr(self, name) > 0:
                raise ValueError(f"rope_scaling.{name} is {getattr(self, name)}: it must be positive")
        if not self.high_turns > self.low_turns:
            raise ValueError(
                f"rope_scaling.high_turns is {self.high_turns}: it must be more than low_turns, {self.low_turns}"
            )

    @property
    def query_key_factor(self) -> float:
        """Factor of cosines and sines."""
        if self.kind != "yarn":
            return 1.0
        if self.magnitude is not None:
            return self.magnitude
        return 0.1 * math.log(self.factor) + 1 if self.factor > 1 else 1.0


def frequencies(features: int, theta: float = 10_000.0, scaling: RopeScaling | None = None) -> Float[np.ndarray, " n"]:
    """Angle per position of each pair of features, in radians: theta^(-2 i / features), lowered by `scaling`."""
    base = theta ** (-np.arange(0, features, 2, dtype=np.float64) / features)
    if scaling is None:
        return base.astype(np.float32)
    match scaling.kind:
        case "linear":
            kept = np.zeros_like(base)
        case "llama3":
            turns = scaling.original_context * base / (2 * math.pi)
            kept = (turns - scaling.low_turns) / (scaling.high_turns - scaling.low_turns)
        case "yarn":
            kept = 1 - _yarn_ramp(features, theta, scaling)
    kept = kept.clip(0, 1)
    return (base * (kept + (1 - kept) / scaling.factor)).astype(np.float32)


def _yarn_ramp(features: int, theta: float, scaling: RopeScaling) -> Float[np.ndarray, " n"]:
    """Rises from 0 at the pair that turns `high_turns` times within the original context to 1 at `low_turns` times."""

    def pair(turns: float) -> float:
        return features * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair(scaling.high_turns), pair(scaling.low_turns)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, features - 1)
    return (np.arange(features // 2) - low) / ((high - low) or 0.001)


def sinusoids(positions: Int[Array, "batch length"], features: int) -> Float[Array, "batch length features"]:
    """Sines and cosines of wavelengths from 2 pi to 20000 pi, interleaved (Vaswani et al. 2017, section 3.5)."""
    angles = _angles(positions, frequencies(features))
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, features)


def _angles(positions: Int[Array, "batch length"], per_position: Float[np.ndarray, " n"]) -> Float[Array, "..."]:
    return positions[..., None].astype(jnp.float32) * jnp.asarray(per_position)[None, None]


def rotation(
    positions: Int[Array, "batch length"], features: int, theta: float = 10_000.0, scaling: RopeScaling | None = None
) -> tuple[Float[Array, "batch 1 length half"], Float[Array, "batch 1 length half"]]:
    """Cosines and sines of the rotary angles of `features` features at these positions, for `rotate`."""
    angles = _angles(positions, frequencies(features, theta, scaling))[:, None]
    factor = scaling.query_key_factor if scaling else 1.0
    return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rotations(
    positions: Int[Array, "batch length"],
    features: int,
    bases: tuple[float, ...],
    theta: float,
    scaling: RopeScaling | None = None,
) -> tuple[Float[Array, "kinds batch 1 length half"], Float[Array, "kinds batch 1 length half"]]:
    """The `rotation` for each base; `scaling` applies only to base `theta`, and base 0 is the identity."""

    def of(base: float) -> tuple[Array, Array]:
        if base == 0:
            return rotation(jnp.zeros_like(positions), features)
        return rotation(positions, features, base, scaling if base == theta else None)

    cos, sin = zip(*map(of, bases), strict=True)
    return jnp.stack(cos), jnp.stack(sin)


def rotate(
    x: Float[Array, "batch heads length head_dim"],
    rotation: tuple[Float[Array, "_ 1 length half"], Float[Array, "_ 1 length half"]],
) -> Float[Array, "batch heads length head_dim"]:
    """Rotary position embedding (Su et al. 2021): rotates pairs (i, i + half) of the first 2 half features, in float32.

    The pairing is that of the published weights of GPT-NeoX and LLaMA; further features are unchanged. Scores then
    depend only on the distance between two positions.
    """
    half = rotation[0].shape[-1]
    cos, sin = (jnp.broadcast_to(part, (*x.shape[:-1], half)) for part in rotation)
    first, second, rest = jnp.split(x.astype(jnp.float32), (half, 2 * half), axis=-1)
    turned = (first * cos - second * sin, second * cos + first * sin, rest)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def alibi_slopes(n_heads: int) -> tuple[float, ...]:
    """One slope per head (Press et al. 2022): 2^(-8 i / n) if n is a power of two.

    Otherwise the slopes of the next smaller power of two, then every other slope of the next larger, as the authors do.
    """
    below = 2 ** int(math.log2(n_heads))
    slopes = [2 ** (-8 * i / below) for i in range(1, below + 1)]
    between = [2 ** (-4 * i / below) for i in range(1, 2 * below, 2)]
    return tuple((slopes + between)[:n_heads])


def alibi(n_heads: int, distance: Int[Array, "queries keys"]) -> Float[Array, "1 heads queries keys"]:
    """Bias on the scores: minus a head's slope times the distance between query and key."""
    return -jnp.asarray(alibi_slopes(n_heads))[None, :, None, None] * jnp.abs(distance).astype(jnp.float32)[None, None]


def relative_buckets(
    distance: Shaped[Array, "queries keys"], buckets: int, longest: int, causal: bool
) -> Int[Array, "queries keys"]:
    """The bucket of each distance, query minus key (Raffel et al. 2020, section 2.1).

    Half of the buckets hold one distance each, the others grow logarithmically up to `longest`. If not causal, the
    upper half of all buckets is for keys after the query.
    """
    one_way = buckets if causal else buckets // 2
    exact = one_way // 2
    far = np.arange(exact, max(longest, exact) + 1, dtype=np.float32) / np.float32(exact)
    # Rounded like the float32 arithmetic of the published models, since their weights depend on it.
    grown = exact + (np.log(far) / np.float32(math.log(longest / exact)) * np.float32(one_way - exact)).astype(int)
    table = jnp.asarray(np.concatenate([np.arange(exact), np.minimum(grown, one_way - 1)]), jnp.int32)
    bucket = table[jnp.clip(distance if causal else jnp.abs(distance), 0, table.size - 1)]
    return bucket if causal else jnp.where(distance < 0, bucket + one_way, bucket)
