"""What this machine can do, to hold a measured speed against."""

import timeit
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, int, int]  # m, k, n of [m, k] @ [k, n]

CPU_SHAPES: tuple[Shape, ...] = ((1024, 1024, 1024), (2048, 512, 512), (4096, 256, 256))
ACCELERATOR_SHAPES: tuple[Shape, ...] = ((4096, 4096, 4096),)  # 137 GFLOP: smaller ones time their launch


def matmul_rate() -> float:
    """FLOP/s of f32 matrix products on the default device: the best of several shapes, each the best of three times.

    On a CPU by NumPy's BLAS on all cores, which nothing has to be compiled for; elsewhere by JAX, at its default
    matmul precision.
    """
    if jax.default_backend() == "cpu":
        return max(_rate(np, *shape) for shape in CPU_SHAPES)
    return max(_rate(jnp, *shape) for shape in ACCELERATOR_SHAPES)


def _rate(numpy: Any, m: int, k: int, n: int) -> float:
    """FLOP/s of one shape by `numpy`, which is NumPy or its JAX counterpart."""
    left, right = numpy.ones((m, k), np.float32), numpy.ones((k, n), np.float32)

    def product() -> None:
        jax.block_until_ready(left @ right)

    product()  # compiles
    return 2 * m * k * n / min(timeit.repeat(product, number=1, repeat=3))
