from dataclasses import replace

import pytest

from experiments.quickstart import experiment as quickstart
from lab.experiment.experiment import Tuning, grid
from lab.probes import cost
from lab.runner import dispatch
from lab.runner.estimate import estimate

GRID = replace(
    quickstart,
    activations=("gelu", "relu", "swiglu", "geglu", "prelu"),
    model=replace(quickstart.model, n_layers=1),
    learning_rates=(1e-3,),
    tuning=Tuning(),
)


@pytest.fixture
def traced(monkeypatch):
    """The models whose cost was counted."""
    found = []
    original = cost.cost
    monkeypatch.setattr("lab.experiment.cell.cost", lambda model, *rest: found.append(model) or original(model, *rest))
    return found


def test_networks_that_differ_only_in_the_activation_are_traced_once(traced):
    rows = estimate(GRID, 1e9).set_index("cell")
    learned = {tuple(model.activation.parameters) for model in traced}
    assert len(traced) == 1 + len(learned) < len(rows) == 5
    for cell in grid(GRID):
        own = cell.cost(dispatch.load(cell.task))
        assert rows.loc[cell.name, ["parameters", "flops_per_token"]].tolist() == [
            own["parameters"],
            own["flops_per_token"],
        ]
