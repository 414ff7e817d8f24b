"""The speed of this machine, for comparison with measured speeds."""

import timeit
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Shape = tuple[int, int, int]  # m, k, n of [m, k] @ [k, n]

CPU_SHAPES: tuple[Shape, ...] = ((1024, 1024, 1024), (2048, 512, 512), (4096, 256, 256))
ACCELERATOR_SHAPES: tuple[Shape, ...] = ((4096, 4096, 4096),)  # 137 GFLOP: smaller ones measure the launch


def matmul_rate(shapes: Sequence[Shape] = (), dtype: str = "float32", numpy: Any = None) -> float:
    """FLOP/s of matrix products on the default device: the best of several shapes, each the best of three times.

    `numpy` is NumPy or its JAX counterpart. By default, a CPU is measured with NumPy's BLAS on all cores, which needs
    no compilation, and other devices with JAX at its default matmul precision. `shapes` default to some at which the
    device is fast.
    """
    on_cpu = jax.default_backend() == "cpu"
    library = numpy or (np if on_cpu else jnp)
    return max(_rate(library, shape, dtype) for shape in shapes or (CPU_SHAPES if on_cpu else ACCELERATOR_SHAPES))


def _rate(numpy: Any, shape: Shape, dtype: str) -> float:
    m, k, n = shape
    left, right = numpy.ones((m, k), dtype), numpy.ones((k, n), dtype)

    def product() -> None:
        jax.block_until_ready(left @ right)

    product()  # compiles
    return 2 * m * k * n / min(timeit.repeat(product, number=1, repeat=3))
