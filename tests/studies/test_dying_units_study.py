"""The study of dying units: what is planted in its results is what it says."""

import itertools

import numpy as np
import pandas as pd
import pytest

from experiments.studies.dying_units import PUBLISHED, alone, errors, in_turns
from lab.probes.dying import born_dead_of_one_sign
from lab.report.networks import dying_units as units
from lab.report.networks import plasticity as report
from lab.report.networks.plasticity import LINEAR, Published

BASE = {"learning_rate": 0.01, "weight_decay": 0.1, "n_layers": 2}
NAMES = ("relu", "gelu", "swiglu")


def shares(effect, noise=0.002):
    """Shares of two layers at three rates and two depths; `effect(name, rate, depth)` is their mean."""
    rng, rows = np.random.default_rng(1), []
    for rate, depth, name, seed in itertools.product((0.001, 0.01, 0.1), (2, 6), NAMES, range(5)):
        about = {"learning_rate": rate, "weight_decay": 0.1, "n_layers": depth, "activation": name, "seed": seed}
        value = effect(name, rate, depth) + noise * rng.normal()
        rows += [about | {"layer": f"layer_{i}", **dict.fromkeys(units.SHARES, value + i - 0.5)} for i in range(2)]
    return pd.DataFrame(rows)


def outcomes(verdicts):
    return {one.claim: one.outcome for one in verdicts}


@pytest.mark.parametrize(
    ("effect", "by_rate", "others"),
    [
        (lambda name, rate, depth: rate, "yes", "inconclusive"),
        (lambda name, rate, depth: -rate, "no, less", "inconclusive"),
        (lambda name, rate, depth: rate * (name == "gelu"), "in some", "in some"),
        (lambda name, rate, depth: 0.1 * (name != "relu"), "inconclusive", "yes"),
        (lambda name, rate, depth: 0.1 * (name == "relu"), "inconclusive", "no, less"),
    ],
)
def test_where_more_units_are_dormant_is_found(effect, by_rate, others):
    found = outcomes(units.shares_verdicts(shares(effect), BASE))
    assert found["More units are dormant at learning rate 0.1 than at 0.001"] == by_rate
    assert found["More units are dormant at depth 6 than at 2"] == "inconclusive"
    assert next(found[claim] for claim in found if "than with relu" in claim) == others
    assert not any("weight decay" in claim for claim in found)  # which has one value


def test_the_table_of_shares_has_means_over_layers_and_paired_differences():
    rows = shares(lambda name, rate, depth: rate + 0.2 * (name == "gelu") + depth)
    table = units.shares_table(rows, BASE)
    assert len(table) == len(units.SHARES) * len(NAMES) * (3 + 2)
    by = table.set_index(["factor", "value", "of", "activation"])
    one = by.loc["learning rate", 0.1, "dead", "gelu"]
    assert one["share"] == pytest.approx(2.3, abs=0.01)
    assert one["difference"] == pytest.approx(0.2, abs=0.01)
    assert one["d_low"] < one["difference"] < one["d_high"]
    assert by.loc["depth", 6, "off", "relu"]["share"] == pytest.approx(6.01, abs=0.01)
    units.shares_figure(rows, BASE)


def test_a_network_that_is_not_finite_is_left_out():
    rows = shares(lambda name, rate, depth: rate)
    broken = (rows["seed"] == 0) & (rows["activation"] == "gelu") & (rows["learning_rate"] == 0.1)
    rows.loc[broken, list(units.SHARES)] = np.nan
    table = units.shares_table(rows, BASE).set_index(["factor", "value", "of", "activation"])
    assert table.loc["learning rate", 0.1, "dead", "gelu"]["n"] == 4
    assert outcomes(units.shares_verdicts(rows, BASE))["More units are off at learning rate 0.1 than at 0.001"] == "yes"


def born(one_sign, both, name="relu", draws=4000):
    closed = born_dead_of_one_sign(2, 9)
    counts = {"one_sign": round(one_sign * draws), "both": round(both * draws)}
    return {"activation": name, "width": 2, "depth": 10, "draws": draws, "closed": closed, **counts}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (born(0.925, 0.88), ["yes", "yes", "yes", "yes"]),
        (born(0.85, 0.80), ["no", "yes", "no", "yes"]),
        (born(0.925, 0.98), ["yes", "no", "no", "yes"]),
    ],
)
def test_what_is_born_dead_is_held_against_the_closed_form_and_the_simulation(row, expected):
    table = units.born_table(pd.DataFrame([row, born(0, 0, "gelu")]), {(2, 10): 0.883})
    assert [one.outcome for one in units.born_verdicts(table)] == expected
    some = units.born_table(pd.DataFrame([row, born(0.1, 0.1, "gelu")]), {(2, 10): 0.883})
    assert units.born_verdicts(some)[-1].outcome == "no"


def curves(last, noise=0.1, seeds=30):
    """Curves of bins 1 to 10 that fall from 1 to what `last` says of each (activation, rate)."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        shared = rng.normal(0, noise)
        for (name, rate), end in last.items():
            for step in range(1, 11):
                value = 1 + (end - 1) * min(1, (step - 1) / 7) + shared + 0.01 * rng.normal()
                row = {"activation": name, "learning_rate": rate, "seed": seed, "step": step, "value": value}
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("first", "last", "outcome"),
    [(1.0, 0.5, "yes"), (1.0, 0.56, "within the noise"), (1.0, 0.9, "no"), (0.5, 0.5, "no")],
)
def test_a_published_curve_is_reproduced_within_its_errors(first, last, outcome):
    ends = report.ends(curves({("relu", 0.01): 0.5}))
    (verdict,) = report.reproduced(ends, [Published("relu", 0.01, first, last)], 100, 0.03)
    assert verdict.outcome == outcome
    assert report.reproduced(ends, [Published("relu", 0.003, first, last)], 100, 0.03) == []


def of_ends(rows, published=(), constant=0.9):
    """The table of the ends, where the best constant differs by seed as the curves do."""
    learned = rows[rows["activation"] != LINEAR].drop_duplicates(["activation", "seed"]).assign(dead=0.2, off=0.4)
    learned = learned.assign(learning_rate=learned["learning_rate"].astype(np.float32))  # as in files
    ends = report.ends(rows)
    linear = ends[ends["activation"] == LINEAR].set_index("seed")["last"]
    return report.ends_table(ends, published, "relu", linear - linear.mean() + constant, learned)


@pytest.mark.parametrize(
    ("constant", "outcome", "said"),
    [(0.9, "in some", [False, True, True]), (0.945, "in some", [False, True, False]), (1.5, "no", [False] * 3)],
)
def test_who_ends_as_a_constant_is_found_in_pairs_of_seeds(constant, outcome, said):
    last = {("relu", 0.01): 0.7, ("gelu", 0.01): 0.9, ("tanh", 0.01): 0.86, (LINEAR, 0.01): 0.5}
    rows = curves(last, noise=1.0)
    level = rows[(rows["activation"] == LINEAR) & (rows["step"] > 8)]["value"].mean() - 0.5
    verdict = report.against_constant(of_ends(rows, constant=constant + level), 0.01)
    *parts, _ = verdict.reason.split("; ")
    assert verdict.outcome == outcome
    assert ["as the constant" in part for part in parts] == said
    assert all("40% of the units off, 20% dead" in part for part in parts)


@pytest.mark.parametrize(("tanh", "outcome"), [(0.7, "in some"), (0.9, "yes")])
def test_who_ends_above_the_linear_model_is_found_in_pairs_of_seeds(tanh, outcome):
    last = {("relu", 0.01): 0.9, ("tanh", 0.01): tanh, (LINEAR, 0.01): 0.8}
    rows = curves(last, noise=1.0)  # which pairing removes
    verdict = report.against_linear(report.ends(rows), 0.01)
    assert verdict.outcome == outcome
    assert ("(less)" in verdict.reason) == (tanh < 0.8)
    table = of_ends(rows, PUBLISHED).set_index("activation")
    assert table.loc["tanh", "minus_relu"] == pytest.approx(tanh - 0.9, abs=0.01)
    assert table.loc["tanh", "minus_linear"] == pytest.approx(tanh - 0.8, abs=0.01)
    assert table.loc["tanh", "published_last"] == 0.89
    report.error_figure(rows, PUBLISHED, "relu", 0.01, 0.9)


def test_a_learner_that_diverges_is_counted_and_left_out():
    rows = curves({("relu", 0.01): 0.9, (LINEAR, 0.01): 0.8})
    rows.loc[(rows["activation"] == "relu") & (rows["seed"] == 3) & (rows["step"] > 5), "value"] = np.nan
    row = of_ends(rows).set_index("activation").loc["relu"]
    assert (row["n"], row["diverged"]) == (29, 1)


def turns(gap, noise=0.01):
    """The losses of turns 2 and 3; `gap(name)` is that of the last."""
    rng, through, fresh = np.random.default_rng(0), [], []
    for name, turn, seed in itertools.product(NAMES, (2, 3), range(6)):
        about = {"activation": name, "turn": turn, "seed": seed}
        base = rng.normal(3, 0.5)
        fresh.append(about | {"value": base})
        through.append(about | {"value": base + gap(name) * (turn == 3) + noise * rng.normal()})
    return pd.DataFrame(through), pd.DataFrame(fresh)


@pytest.mark.parametrize(
    ("gap", "worse", "grown", "larger"),
    [
        (lambda name: 0.1, "yes", "yes", "inconclusive"),
        (lambda name: -0.1, "no, less", "no, less", "inconclusive"),
        (lambda name: 0.1 * (name == "relu"), "in some", "in some", "no, less"),
        (lambda name: 0.1 * (name == "gelu"), "in some", "in some", "in some"),
    ],
)
def test_the_gap_to_fresh_networks_is_found(gap, worse, grown, larger):
    through, fresh = turns(gap)
    found = report.gaps(through, fresh)
    verdicts = report.gap_verdicts(found, found[found["turn"] == 3], "relu")
    assert [one.outcome for one in verdicts] == [worse, grown, larger]
    table = report.gaps_table(found, "relu").set_index(["activation", "turn"])
    assert table.loc[("gelu", 3), "gap"] == pytest.approx(gap("gelu"), abs=0.02)
    assert table.loc[("gelu", 2), "gap"] == pytest.approx(0, abs=0.02)
    report.gaps_figure(through, found)


def rows_of(steps, values, split="train", **about):
    named = {"activation": "relu", "learning_rate": 0.01, "seed": 0, "split": split, "metric": "loss"} | about
    return [named | {"step": step, "value": value} for step, value in zip(steps, values, strict=True)]


class Given:
    """Results that have rows."""

    def __init__(self, rows):
        self.rows = pd.DataFrame(rows)


def test_a_turn_is_read_at_its_end():
    rows = pd.DataFrame(rows_of([5, 10, 15, 20], [9.0, 1.0, 8.0, 2.0]) + rows_of([0, 10], [7.0, 7.0], "validation"))
    assert in_turns(rows)[["turn", "value"]].to_numpy().tolist() == [[1, 1.0], [2, 2.0]]
    late = pd.DataFrame(rows_of([5, 10], [9.0, 3.0], first=1) + rows_of([0, 10], [7.0, 6.0], "validation", first=1))
    assert alone(late, "train")[["turn", "value"]].to_numpy().tolist() == [[2, 3.0]]
    assert alone(late, "validation")[["turn", "value"]].to_numpy().tolist() == [[2, 6.0]]


def test_the_online_error_is_that_of_training_and_the_linear_model_has_its_name():
    results = {
        "slowly_changing": Given(rows_of([10], [1.0]) + rows_of([10], [5.0], "validation")),
        "slowly_changing_linear": Given(rows_of([10, 20], [2.0, np.inf], activation="identity")),
        "in_turn": Given(rows_of([10], [3.0])),
    }
    found = errors(results)
    assert found["activation"].tolist() == ["relu", LINEAR, LINEAR]
    np.testing.assert_array_equal(found["value"], [1.0, 2.0, np.nan])
