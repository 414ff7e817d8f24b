"""Programs are timed side by side."""

import jax.numpy as jnp
import numpy as np

from lab.probes.latency import program, seconds


def test_every_program_has_a_time_in_every_round_and_says_what_it_needs():
    calls = []
    small, large = (program(lambda x: x @ x, jnp.ones((n, n))) for n in (8, 512))
    counted = small._replace(call=lambda: calls.append(0) or small.call())
    found = seconds([counted, large], rounds=3)
    assert found.shape == (2, 3)
    assert (found > 0).all()
    assert len(calls) >= 3 + 2
    assert large.bytes >= 2 * 512 * 512 * 4 > small.bytes
    np.testing.assert_array_equal(large.call(), jnp.full((512, 512), 512.0))
