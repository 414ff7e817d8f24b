"""The measured speed of matrix products."""

import jax.numpy as jnp
import numpy as np
import pytest

from lab.probes import machine


def test_the_rate_is_a_positive_number_of_flops_a_second(monkeypatch):
    monkeypatch.setattr(machine, "CPU_SHAPES", ((64, 64, 64), (128, 32, 32)))
    rate = machine.matmul_rate()
    assert np.isfinite(rate)
    assert rate > 0


@pytest.mark.parametrize("numpy", [np, jnp], ids=["numpy", "jax"])
def test_twice_the_seconds_are_half_the_rate(numpy, monkeypatch):
    def rate(seconds):
        monkeypatch.setattr(
            machine.timeit, "repeat", lambda product, number, repeat: [3 * seconds, seconds, 5 * seconds]
        )
        return machine._rate(numpy, (8, 4, 2), "float32")

    assert rate(1.0) == 2 * 8 * 4 * 2
    assert rate(2.0) == rate(1.0) / 2


def test_the_best_shape_counts(monkeypatch):
    monkeypatch.setattr(machine, "CPU_SHAPES", ((1, 1, 1), (2, 1, 1)))
    monkeypatch.setattr(machine, "_rate", lambda numpy, shape, dtype: float(shape[0]))
    assert machine.matmul_rate() == 2.0
    assert machine.matmul_rate([(5, 1, 1)]) == 5.0
