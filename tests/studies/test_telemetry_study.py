"""The study of telemetry: planted numbers are found, and none are made up."""

import numpy as np
import pandas as pd
import pytest

from experiments.studies.telemetry import (
    PUBLISHED,
    QUANTITIES,
    centring,
    differences,
    halves,
    of_shifts,
    published,
    study,
    summary,
    unchanged,
)
from lab.experiment.experiment import grid

ARMS = [("layernorm", "gelu"), ("rmsnorm", "gelu"), ("rmsnorm", "swiglu"), ("centred_rmsnorm", "gelu")]


def rows(trained, seeds=5):
    """Quantities that are 0.5 at initialization and afterwards those of `trained`, per seed a little apart."""
    noise = np.random.default_rng(0).normal(0, 1e-3, 1000)
    return pd.DataFrame(
        {"norm": norm, "activation": name, "seed": seed, "when": when, "layer": f"layer_{layer}", "quantity": quantity}
        | {"value": 0.5 if when == "init" else trained(norm, name).get(quantity, 0.5) + noise[index * 7 + seed]}
        for index, (norm, name) in enumerate(ARMS)
        for seed in range(seeds)
        for when in ("init", "trained")
        for layer in range(2)
        for quantity in QUANTITIES
    )


def losses(effect):
    return pd.DataFrame(
        {"norm": norm, "activation": name, "seed": seed, "value": seed + ("centred" in norm) * effect * (1 + seed)}
        for norm, name in ARMS
        for seed in range(5)
    )  # fmt: skip


@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_every_arm_has_telemetry(budget):
    (norms,) = study.experiments(budget)
    norms.check()
    assert norms.telemetry
    assert len(grid(norms)) == 6


def test_published_numbers_are_confirmed_or_denied():
    as_published = published(summary(rows(lambda *arm: PUBLISHED.get(arm, {}))))
    assert [one.outcome for one in as_published] == ["yes"] * 6
    near_zero = {"input mean / RMS": 0.0, "outputs negative": 0.5, "output mean": 0.0}
    found = published(summary(rows(lambda *arm: near_zero)))
    assert [one.outcome for one in found] == ["yes"] * 3 + ["no"] * 3
    single = published(summary(rows(lambda *arm: near_zero, seeds=1)))
    assert {one.outcome for one in single} == {"no verdict"}


def test_half_of_the_outputs():
    numbers = summary(rows(lambda *arm: {}))
    assert halves(numbers).outcome == "yes"
    assert halves(numbers.assign(init=0.4)).outcome == "no"


def test_an_effect_of_centring_on_the_loss_is_found():
    found = rows(lambda *arm: {})
    found = found[found["activation"] == "gelu"]
    assert centring(differences(found, losses(0.1))).outcome == "yes"
    assert (
        centring(differences(found, losses(0.0).assign(value=lambda one: one["value"] % 2))).outcome == "inconclusive"
    )


def test_the_shift_has_its_closed_form():
    shift = np.array([0.0, 0.374])
    mean = shift / np.sqrt(shift**2 + 1)
    found = pd.DataFrame({"norm": "rmsnorm", "activation": "gelu", "shift": shift, "mean": mean, "moved": 1.0})
    found["loss"] = [2.0, 2.5]
    still = found.assign(norm="layernorm", mean=0.0, moved=0.0)
    table = of_shifts(pd.concat([found, still], ignore_index=True))
    assert table["loss_change"].tolist() == [0, 0.5, 0, 0.5]
    assert unchanged(table).outcome == "yes"
    assert unchanged(table.assign(mean=0.0)).outcome == "no"
    assert unchanged(table.assign(moved=1.0)).outcome == "no"
