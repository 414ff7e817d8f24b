"""The calibration counts what it says, and shows a method that does not keep its promise."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lab.report.studies import calibration
from lab.report.studies.calibration import DISTRIBUTIONS, PAIRS, calibrate, draw
from lab.statistics.paired import paired_t

EXPERIMENTS = 200


@pytest.fixture(scope="module")
def table():
    return calibrate(EXPERIMENTS)


def test_every_method_has_a_row_for_every_distribution_and_count(table):
    key = ["method", "quantity", "distribution", "n"]
    assert not table.duplicated(key).any()
    counts = table.groupby(["method", "quantity"]).size()
    everywhere = len(DISTRIBUTIONS) * len(PAIRS)
    assert counts["BCa bootstrap", "coverage"] == len(DISTRIBUTIONS)  # from 20 pairs
    assert counts["sign flips", "false positives"] == 2 * len(DISTRIBUTIONS)  # from 8
    assert (counts.drop([("BCa bootstrap", "coverage"), ("sign flips", "false positives")]) == everywhere).all()


def test_normal_experiments_are_near_the_nominal_rates(table):
    normal = table[(table["distribution"] == "normal") & (table["method"] != "improvement")].dropna()
    wrong = np.where(normal["quantity"].str.startswith("false"), 1, -1) * (normal["value"] - normal["nominal"])
    assert (wrong <= 4 * normal["standard_error"]).all()
    power = normal[normal["quantity"] == "power"]
    assert (abs(power["value"] - power["nominal"]) <= 4 * power["standard_error"]).all()


def test_few_pairs_betray_the_percentile_bootstrap(table):
    few = table[(table["method"] == "improvement") & (table["quantity"] == "coverage of an effect") & (table["n"] == 5)]
    assert not few["within"].any()


def test_looking_costs_power_and_saves_pairs(table):
    wide = table[table["n"] == 20].pivot_table(index="distribution", columns=["method", "quantity"], values="value")
    assert (wide["sequential", "power"] < wide["t interval", "power"]).all()
    assert wide["sequential", "pairs"].between(3, 18).all()


def test_a_method_that_errs_too_often_is_shown(monkeypatch):
    def overconfident(differences, level):
        return paired_t(differences, 1 - 3 * (1 - level))

    monkeypatch.setattr(calibration, "PAIRS", (5,))
    monkeypatch.setattr(calibration, "paired_t", overconfident)
    table = calibrate(EXPERIMENTS)
    assert not table[(table["method"] == "t interval") & (table["quantity"] == "coverage")]["within"].any()


def test_the_same_seed_gives_the_same_table(monkeypatch, table):
    monkeypatch.setattr(calibration, "PAIRS", (8,))
    again, other = calibrate(EXPERIMENTS), calibrate(EXPERIMENTS, seed=1)
    same = table[table["n"] == 8].reset_index(drop=True)
    assert again.equals(same)
    assert not other.equals(same)


def test_the_figure_shows_errors_of_every_distribution(table):
    figure = draw(table)
    assert isinstance(figure, Figure)
    assert [axes.get_title() for axes in figure.axes] == list(DISTRIBUTIONS)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "t interval, misses" in labels
    assert not any("power" in label or "coverage" in label for label in labels)


def test_no_experiment_is_no_calibration():
    with pytest.raises(ValueError, match="experiments is 0"):
        calibrate(0)
