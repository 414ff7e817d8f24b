"""A profile is readable, and changes no number."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
from bigram import Bigram

import ablations
from lab.experiment.experiment import grid
from lab.results.cells import CellDirectory
from lab.runner import session
from lab.runner.plan import cell_directory
from lab.training.train import train


def metrics(cell):
    (wave,) = cell.waves()
    return wave.metrics()["value"].to_numpy()


@pytest.fixture
def small(experiment):
    return replace(experiment, model=Bigram(), activations=("gelu",), seeds=(0, 1))


@pytest.mark.slow
def test_a_trace_of_each_trained_cell_and_the_same_numbers(small, tmp_path, capsys):
    (cell,) = grid(small)
    ablations.run(small, tmp_path / "out", profile=True)
    (file,) = (tmp_path / "out" / "profile" / cell.name).glob("plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    assert any("dot" in str(event.get("name")) for event in events)
    assert capsys.readouterr().err.count("https://ui.perfetto.dev") == 1
    train(cell.model, cell.task, cell.settings, cell.runs, tmp_path / "without", cell.task.load())
    np.testing.assert_array_equal(
        metrics(cell_directory(tmp_path / "out", cell)), metrics(CellDirectory(tmp_path / "without"))
    )


def test_where_nothing_is_trained_it_says_so(tmp_path):
    assert "nothing was left to train" in session.traces(tmp_path)
