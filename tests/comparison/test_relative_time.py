"""Relative time is a measurement with a spread, and processor time stands in for a busy machine's clock."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic

from lab.comparison.comparison import compare
from lab.comparison.time.relative_time import relative_time, seconds_per_token
from lab.report.report import write
from lab.report.table import ranked


def test_the_range_of_a_noisy_machine_includes_one(tmp_path):
    found = synthetic.results()
    slower = np.random.default_rng(0).uniform(1, 3, len(found.timing))
    busy = found.timing.assign(seconds=slower * found.timing["seconds"])
    noisy = replace(found, timing=busy)
    row = ranked(noisy, compare(noisy)).set_index("arm").loc["swiglu"]
    assert row["relative_time_low"] < 1 < row["relative_time_high"]
    assert row["relative_time_low"] < row["relative_time"] < row["relative_time_high"]
    assert "Training time, relative" not in write(noisy, tmp_path / "report.html").read_text()


def test_on_a_cpu_the_processor_time_counts_where_it_is_known():
    found = synthetic.results()
    twice = found.timing["cell"].str.startswith("swiglu") + 1
    both = replace(found, timing=found.timing.assign(processor_seconds=twice * found.timing["tokens"] / 1e6))
    times = seconds_per_token(both)
    assert relative_time(times["swiglu-1a2b3c4d"], times["gelu-1a2b3c4d"]).ratio == pytest.approx(2)
    on_gpu = tuple({**cell, "environment": {"device": "NVIDIA H200"}} for cell in found.cells)
    times = seconds_per_token(replace(both, cells=on_gpu))
    assert relative_time(times["swiglu-1a2b3c4d"], times["gelu-1a2b3c4d"]).ratio == pytest.approx(1.1)


def test_one_interval_has_no_spread():
    found = synthetic.results()
    once = found.timing[found.timing["start_step"] == 0]
    times = seconds_per_token(replace(found, timing=once))
    time = relative_time(times["swiglu-1a2b3c4d"], times["gelu-1a2b3c4d"])
    assert time.ratio == pytest.approx(1.1)
    assert np.isnan([time.low, time.high]).all()
    assert np.isnan(relative_time(None, times["gelu-1a2b3c4d"]).ratio)
