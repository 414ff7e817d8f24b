"""The pool of runs: its averages of weights, and the table that is committed."""

import numpy as np
import pandas as pd

from benchmarks import pool, ruler


def test_averages_of_weights_are_those_of_the_last_steps():
    averages, steps = dict.fromkeys([*pool.EMA, *pool.LAST]), 300
    for step in range(pool.EVERY, steps + 1, pool.EVERY):
        averages = pool.averaged(averages, {"w": np.float32(step)}, steps - step)
    for name, last in pool.LAST.items():
        np.testing.assert_allclose(
            averages[name]["w"], np.arange(steps - last + pool.EVERY, steps + 1, pool.EVERY).mean()
        )
    for name, length in pool.EMA.items():
        share = 1 - np.exp(-pool.EVERY / length)
        lag = pool.EVERY * (1 - share) / share  # of the average of a line behind it, once its start is forgotten
        assert abs(averages[name]["w"] - (steps - lag)) < 0.01 * steps


def test_the_committed_table_has_the_pool():
    table = pd.read_parquet(pool.TABLE)
    for rate, arms in pool.RATES.items():
        assert table[np.isclose(table["learning_rate"], rate)]["activation"].value_counts().to_dict() == arms
    first = table[np.isclose(table["learning_rate"], ruler.RATE)]
    documents = first.filter(like="document_").to_numpy(float)
    assert np.isfinite(documents).all()
    assert ((documents.min(1) < first["final"]) & (first["final"] < documents.max(1))).all()


def test_a_regular_difference_is_resolved_and_noise_is_not():
    rng = np.random.default_rng(0)
    pairs = np.stack([1 + 0.1 * rng.normal(size=32), rng.normal(size=32) - 0.0], axis=1)
    pairs[:, 1] -= pairs[:, 1].mean()
    clear, noise = ruler._resolved(pairs)
    assert clear == 1
    assert noise < 0.1
