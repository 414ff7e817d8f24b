"""What this machine can do, to hold a measured speed against."""

import time

import jax
import jax.numpy as jnp
import numpy as np

SHAPES = ((1024, 1024, 1024), (2048, 512, 512), (4096, 256, 256))  # [m, k] @ [k, n]


def matmul_rate() -> float:
    """FLOP/s of f32 matrix products on the default device: the best of several shapes, each the best of three times.

    On a CPU by NumPy's BLAS on all cores, which nothing has to be compiled for; elsewhere by JAX.
    """
    return max(_rate(*shape) for shape in SHAPES)


def _rate(m: int, k: int, n: int) -> float:
    if jax.default_backend() == "cpu":
        left, right = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        return max(2 * m * k * n / _seconds(lambda: left @ right) for _ in range(3))
    a, b = jnp.ones((m, k)), jnp.ones((k, n))
    jnp.dot(a, b).block_until_ready()
    return max(2 * m * k * n / _seconds(lambda: jnp.dot(a, b).block_until_ready()) for _ in range(3))


def _seconds(function) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin
