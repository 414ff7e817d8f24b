"""The study of gradient flow: what is planted in its measurements is what it says."""

import numpy as np
import pandas as pd
import pytest

from experiments.studies.gradient_flow import against_closed_form
from lab.probes.gradient_flow import chi
from lab.report.networks.gradient_flow import NORMAL_BELOW, agreement, fits, losses, shapes

ARMS = {"pre": np.log, "dyt": np.sqrt, "derf": np.sqrt}


def planted(shape_of, noise=0.02):
    rng, rows = np.random.default_rng(0), []
    for seed in range(4):
        for state in ("init", "trained"):
            for arm in ARMS:
                layers = np.arange(17)
                logs = -shape_of(arm)(np.maximum(layers, 1)) + noise * rng.normal(size=17)
                rows += [
                    {"arm": arm, "residual": "yes", "n_layers": 16, "seed": seed, "state": state}
                    | {"layer": layer, "jacobian": float(np.exp(log))}
                    for layer, log in zip(layers, logs, strict=True)
                ]
    return pd.DataFrame(rows)


def test_the_shape_that_was_planted_fits_better():
    table = fits(planted(ARMS.get))
    assert {verdict.outcome for verdict in shapes(table)} == {"yes"}
    power = table[table["arm"] == "pre"]
    np.testing.assert_allclose(power["exponent"], -1, atol=0.03)
    np.testing.assert_allclose(table[table["arm"] == "dyt"]["lambda"], 1, atol=0.1)
    swapped = shapes(fits(planted(lambda arm: np.sqrt if arm == "pre" else np.log)))
    assert {verdict.outcome for verdict in swapped} == {"no"}
    assert "inconclusive" in {verdict.outcome for verdict in shapes(fits(planted(ARMS.get, noise=5.0)))}


def test_a_network_whose_jacobians_are_not_finite_is_left_out():
    rows = planted(ARMS.get)
    rows.loc[(rows["seed"] > 0) & (rows["state"] == "trained"), "jacobian"] = np.inf
    outcomes = [verdict.outcome for verdict in shapes(fits(rows))]
    assert outcomes == ["yes"] * 3 + ["no verdict"] * 3


@pytest.mark.parametrize(
    ("factor", "noise", "outcome"), [(1, 0.005, "yes"), (1.1, 0.005, "no"), (1, 0.1, "inconclusive")]
)
def test_agreement_with_the_closed_form(factor, noise, outcome):
    rng = np.random.default_rng(1)
    rows = [
        {"activation": name, "width": 100, "draw": draw, "gain": factor * chi(name, width=100) * (1 + noise * error)}
        for name in ("relu", "gelu")
        for draw, error in enumerate(rng.normal(size=10))
    ]
    assert agreement(against_closed_form(pd.DataFrame(rows))).outcome == outcome


def test_what_is_lost_at_very_negative_inputs():
    row = {
        "activation": "gelu",
        "state": "trained",
        "std": 1.0,
        "lost": 0.02,
        "low": 0.015,
        "high": 0.03,
        "largest": 0.05,
    }
    assert [one.outcome for one in losses(pd.DataFrame([row | {"share_below": NORMAL_BELOW / 2, "n": 5}]))] == [
        "yes",
        "no",
    ]
    little = row | {"lost": 0.001, "low": 0.0, "high": 0.002, "share_below": 0.01, "n": 5}
    assert [one.outcome for one in losses(pd.DataFrame([little]))] == ["no", "yes"]
