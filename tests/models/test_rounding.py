"""Rounding to a short format: to the nearest value of a grid that is symmetric and has zero."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from models.layers.rounding import E4M3_MAX, e4m3, largest, rounded

VALUES = jnp.asarray(np.random.default_rng(0).normal(size=(64, 16)) ** 3, jnp.float32)

every_format = pytest.mark.parametrize(
    ("form", "levels"), [("integer", 127.0), ("integer", 7.0), ("e4m3", E4M3_MAX)], ids=["int8", "int4", "e4m3"]
)


def of_values(x, form, levels, limit=None):
    return np.asarray(
        jax.jit(rounded, static_argnums=3)(x, largest(x, (0, 1)) if limit is None else limit, levels, form)
    )


@every_format
def test_rounding_is_idempotent_symmetric_and_keeps_zero(form, levels):
    once = of_values(VALUES, form, levels)
    np.testing.assert_allclose(of_values(jnp.asarray(once), form, levels), once, rtol=1e-6)
    np.testing.assert_array_equal(of_values(-VALUES, form, levels), -once)
    assert len(np.unique(once)) < len(np.unique(VALUES)) / 4
    assert (of_values(jnp.zeros_like(VALUES), form, levels) == 0).all()


@pytest.mark.parametrize("levels", [127.0, 7.0])
def test_an_integer_is_at_most_half_a_step_away(levels):
    step = np.abs(VALUES).max() / levels
    found = of_values(VALUES, "integer", levels)
    assert np.abs(found - VALUES).max() <= step / 2 * (1 + 1e-5)
    np.testing.assert_allclose(found / step, np.round(found / step), atol=1e-4)
    assert np.abs(found).max() == pytest.approx(np.abs(VALUES).max())


def test_e4m3_is_the_type_of_that_name():
    rng = np.random.default_rng(1)
    x = np.clip(rng.normal(size=20_000) * np.exp(rng.uniform(-9, 6, 20_000)), -E4M3_MAX, E4M3_MAX).astype("float32")
    np.testing.assert_array_equal(jax.jit(e4m3)(jnp.asarray(x)), x.astype(ml_dtypes.float8_e4m3fn).astype("float32"))


def test_values_beyond_the_limit_are_clipped_and_no_levels_round_nothing():
    limit = jnp.ones((1, 1))
    assert np.abs(of_values(VALUES, "integer", 127.0, limit)).max() == 1
    np.testing.assert_array_equal(of_values(VALUES, "integer", 0.0, limit), VALUES)
