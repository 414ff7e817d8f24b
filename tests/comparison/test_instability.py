"""The first event of a run is found and dated, and looks combine the layers."""

import numpy as np
import pandas as pd

from lab.comparison.networks.instability import EVENTS, censored, events, log_middle, looks, measured

STEPS = (0, 10, 20, 30)
CEILING = 3.0


def curves(losses, diverged=()):
    """Validation losses by seed, and marks of divergence (seed, step)."""
    rows = [
        {"seed": seed, "learning_rate": 0.1, "step": step, "split": "validation", "metric": "loss", "value": value}
        for seed, values in losses.items()
        for step, value in zip(STEPS, values, strict=True)
    ]
    marks = [
        {"seed": seed, "learning_rate": 0.1, "step": step, "split": "train", "metric": "diverged", "value": 1.0}
        for seed, step in diverged
    ]
    return pd.DataFrame(rows + marks)


def scores(counts):
    """The spike scores of training losses with so many spikes up to each evaluation, by seed."""
    return pd.DataFrame(
        {"seed": seed, "learning_rate": 0.1, "step": step, "layer": "", "site": site, "metric": "spike_score"}
        | {"value": count / step if site == "loss" else 1.0}
        for seed, values in counts.items()
        for step, count in zip(STEPS[1:], values, strict=True)
        for site in ("loss", "gradient_norm")
    )


def test_the_first_event_is_named_and_dated():
    falls, climbs = (5, 2.5, 2.4, 2.3), (5, 2.5, 3.1, 3.2)
    losses = {0: falls, 1: falls, 2: (5, 2.5, np.nan, np.nan), 3: climbs, 4: climbs, 5: (5, 4, 3.5, 3), 6: (5, 2, 4, 2)}
    counts = dict.fromkeys(losses, (0, 0, 0)) | {1: (0, 1, 3), 2: (0, np.nan, np.nan), 4: (2, 2, 2)}
    found = events(curves(losses, [(2, 20), (2, 30)]), scores(counts), CEILING).set_index("seed")
    assert found["event"].tolist() == ["", "spike", "not finite", "loss", "spike", "loss", ""]
    np.testing.assert_array_equal(found["step"], [np.nan, 20, 20, 20, 10, 0, np.nan])
    assert found["spikes"].tolist() == [0, 3, 0, 0, 2, 0, 0]
    assert set(found["event"]) - {""} == set(EVENTS)


def test_a_run_that_was_never_below_the_ceiling_may_still_diverge_or_spike():
    losses = {0: (5, np.nan, np.nan, np.nan), 1: (5, 4, 9, 9), 2: (5, 4, 9, 9)}
    counts = {0: (np.nan,) * 3, 1: (0, 1, 1), 2: (0, 0, 0)}
    found = events(curves(losses, [(0, 10), (0, 20)]), scores(counts), CEILING)
    assert found["event"].tolist() == ["not finite", "spike", "loss"]
    assert found["step"].tolist() == [10, 20, 0]


def test_runs_of_other_seeds_and_rates_are_not_made_up():
    rows = curves({0: (5, 4, 4, 4), 1: (5, 2, 2, 2)})
    counts = scores({0: (0, 0, 0), 1: (0, 0, 0)})
    rates = {0: 0.1, 1: 0.4}
    rows, counts = (one.assign(learning_rate=one["seed"].map(rates)) for one in (rows, counts))
    found = events(rows, counts, CEILING)
    assert found[["seed", "learning_rate", "event"]].to_numpy().tolist() == [[0, 0.1, "loss"], [1, 0.4, ""]]
    assert len(looks(rows, counts)) == 2 * len(STEPS)


def test_a_ceiling_that_is_higher_makes_them_stable():
    rows, none = curves({0: (5, 4, 4, 4)}), scores({0: (0, 0, 0)})
    assert events(rows, none, 4.5)["event"].tolist() == [""]
    assert events(rows, none, 4.0)["event"].tolist() == ["loss"]


def test_each_run_may_have_a_ceiling_of_its_own():
    rows, none = curves({0: (5, 4, 4, 4.5), 1: (4, 4, 4, 4.5)}), scores(dict.fromkeys((0, 1), (0, 0, 0)))
    first = rows[rows["step"] == 0].set_index(["seed", "learning_rate"])["value"]
    assert events(rows, none, first)["event"].tolist() == ["", "loss"]


def test_looks_combine_the_layers_of_a_run():
    places = {
        ("layer_0", "attention/scores", "max"): 5.0,
        ("layer_1", "attention/scores", "max"): 4.0,
        ("layer_0", "residual", "rms"): 7.0,
        ("layer_1", "residual", "rms"): 2.0,
        ("layer_0", "attention/input", "rms"): 9.0,
        ("layer_0", "parameters", "gradient_norm"): 3.0,
        ("", "head", "gradient_norm"): 4.0,
        ("layer_0", "feedforward/hidden", "std"): np.inf,
    }
    telemetry = pd.DataFrame(
        {"seed": 0, "learning_rate": 0.1, "step": 10, "layer": layer, "site": site, "metric": metric, "value": value}
        for (layer, site, metric), value in places.items()
    )
    found = looks(curves({0: (5, 4, 3, 2)}), telemetry).set_index("step").loc[10]
    assert found["attention logit"] == 5
    assert found["residual RMS"] == 2
    assert found["gradient norm"] == 5
    assert found["validation loss"] == 4
    assert np.isnan(found["hidden std"])
    assert np.isnan(found["update norm"])
    assert measured("head", "gradient_norm")
    assert measured("residual", "rms")
    assert not measured("attention/input", "rms")
    assert not measured("residual", "growth")


def test_a_censored_threshold_counts_at_the_end_that_is_known():
    table = pd.DataFrame({"low": [0.1, 0.0, 8.0], "high": [0.4, 0.1, np.inf]})
    np.testing.assert_allclose(np.exp(log_middle(table)), [0.2, 0.1, 8.0])
    assert censored(table).tolist() == [False, True, True]
