"""Speed and memory, in the live display and in the report."""

import io
import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import synthetic
from rich.console import Console

from lab.comparison.time.speed import by_cell
from lab.experiment.experiment import grid
from lab.report import report
from lab.runner import progress
from lab.runner.plan import cell_directory


def test_rates_of_a_cell_are_those_of_its_training():
    table = by_cell(synthetic.results())
    steps = synthetic.STEPS[-1]
    gelu = table[table["cell"].str.startswith("gelu")].iloc[0]
    assert gelu["tokens_per_second"] == pytest.approx(synthetic.TOKENS_PER_STEP * steps / synthetic.seconds("gelu"))
    assert gelu["flops_per_second"] == pytest.approx(3 * 1.638e6 * gelu["tokens_per_second"])


def test_the_report_shows_speed_share_and_memory(tmp_path):
    found = synthetic.results()
    cells = tuple({**cell, "environment": {**cell["environment"], "device_bytes": 123_456_789}} for cell in found.cells)
    rate = by_cell(found)["flops_per_second"].iloc[0]
    text = report.write(replace(found, cells=cells), tmp_path / "report.html", peak=4 * rate).read_text()
    assert "<td>0.25</td><td>123</td>" in text
    assert "Speed and memory" in text


def test_the_live_table_shows_the_last_interval(experiment, tmp_path, monkeypatch):
    cell = grid(experiment)[0]
    folder = cell_directory(tmp_path, cell)
    folder.describe(cell.description(cell.task.load()) | {"cost": {"flops_per_token": 1e6}})
    folder.wave([{"seed": 0}]).start({"commit": "x", "device_bytes": 5_000_000})
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    console = Console(width=160, file=io.StringIO(), force_terminal=True)
    rows = [{"run": 0, "step": 0, "split": "validation", "metric": "loss", "value": 1.0}]
    with progress.Progress([cell], console, tmp_path, peak=1e9) as live:
        for step in (0, 2):
            live(cell, step, rows)
        tokens, flops, share, memory = live._speeds[cell.name]
    per_step = cell.settings.batch_size * cell.task.tokens_per_example
    assert 0 < float(tokens) <= 2 * per_step
    assert float(flops) == pytest.approx(3e-3 * float(tokens), rel=0.1, abs=0.05)
    assert float(share) == pytest.approx(3e-3 * float(tokens), rel=0.1, abs=0.01)
    assert memory == "5 MB"
    assert "tokens/s" in console.file.getvalue()
