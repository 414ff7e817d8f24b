"""The study of chance: planted variances are told apart, predictions held against each other, A against A."""

import numpy as np
import pandas as pd
import pytest
from synthetic import results

from experiments.studies.noise_floor import (
    AGAIN,
    METRICS,
    SOURCES,
    against_itself,
    contributions,
    final,
    identical,
    machine,
    more_alike,
    pairwise,
    parts,
    resolves_nothing,
    spreads,
    study,
)
from lab.comparison.comparison import compare
from lab.results.results import Results

SEEDS = 20


def draw(*key: int) -> float:
    return float(np.random.default_rng(key).normal())


def loss(init: int, order: int, noise: dict[str, float]) -> float:
    """A final loss to which initial weights, batches, both together and the machine contribute."""
    draws = {"init": draw(1, init), "order": draw(2, order), "both": draw(3, init, order)}
    return 2.0 + sum(noise.get(name, 0.0) * value for name, value in draws.items())


def curves(activation: str, seed: int, axes: dict, end: float) -> list[dict]:
    run = {"experiment": "noise", "cell": f"{activation}-{axes}", "task": "text", "model": "transformer"}
    run |= {"activation": activation, **axes, "seed": seed, "learning_rate": 3e-3}
    return [
        run | {"step": step, "split": "validation", "metric": "loss", "value": v} for step, v in ((0, 5), (300, end))
    ]


def sources(noise: dict[str, float], seeds: int = SEEDS) -> Results:
    rows = []
    for name in ("gelu", "relu"):
        for init, order in SOURCES.values():
            for seed in range(seeds):
                end = loss(seed if init is None else 99, seed if order is None else 99, noise)
                end += noise.get("machine", 0.0) * draw(4, seed)
                rows += curves(name, seed, {"init_seed": init, "order_seed": order}, end)
    return results(pd.DataFrame(rows))


def repeated(noise: dict[str, float], shift: float = 0.0) -> Results:
    rows = [curves(AGAIN, seed, {}, shift * (1 + seed / 100) + loss(seed, seed, noise)) for seed in range(2 * SEEDS)]
    return results(pd.DataFrame([row for run in rows for row in run]))


BOTH = {"init": 0.02, "order": 0.02}


def test_each_source_has_its_own_spread():
    table = spreads(final(sources({"init": 0.03, "order": 0.01}))).set_index(["activation", "what varies"])
    assert table.loc[("gelu", "initial weights"), "sd"] == pytest.approx(0.03, rel=0.5)
    assert table.loc[("gelu", "batches"), "sd"] == pytest.approx(0.01, rel=0.5)
    assert table.loc[("gelu", "machine"), ["sd", "low", "high", "share"]].tolist() == [0, 0, 0, 0]
    assert table.loc[("relu", "everything"), "share"] == pytest.approx(1)
    inside = table.loc[("gelu", "everything")]
    assert inside["low"] < inside["sd"] < inside["high"]


@pytest.mark.parametrize(
    ("noise", "seeds", "first", "second"),
    [
        (BOTH, SEEDS, "inconclusive", "inconclusive"),
        ({"init": 0.005, "order": 0.03}, SEEDS, "yes", "inconclusive"),
        ({"init": 0.03, "order": 0.005}, SEEDS, "no", "inconclusive"),
        ({"both": 0.03}, 60, "inconclusive", "no"),  # 20 seeds find a factor of 2 four times in ten
    ],
)
def test_planted_variances_are_told_apart(noise, seeds, first, second):
    ends = final(sources(noise, seeds))
    assert [verdict.outcome for verdict in parts(ends, "gelu")] == [first, second]


def test_two_seeds_give_no_verdict_on_variances():
    ends = final(sources(BOTH))
    assert {verdict.outcome for verdict in parts(ends[ends["seed"] < 2], "gelu")} == {"no verdict"}


def test_a_machine_that_moves_something_is_noticed():
    assert machine(final(sources(BOTH))).outcome == "yes"
    moved = machine(final(sources({**BOTH, "machine": 1e-6})))
    assert moved.outcome == "no"
    assert f"gelu {SEEDS} of {SEEDS}" in moved.reason


def test_a_against_a_differs_nowhere_with_equal_seeds_and_nowhere_resolved_with_others():
    ours, again = sources(BOTH).rows, repeated(BOTH).rows
    assert identical(against_itself(ours, again, 0)).outcome == "yes"
    other = against_itself(ours, again, SEEDS)
    assert other.arms[0].n == SEEDS
    assert identical(other).outcome == "no"
    assert resolves_nothing(other).outcome == "yes"


def test_an_a_that_is_no_a_is_noticed():
    ours, shifted = sources(BOTH).rows, repeated(BOTH, shift=0.1).rows
    assert identical(against_itself(ours, shifted, 0)).reason.startswith(f"{SEEDS} of {SEEDS}")
    assert resolves_nothing(against_itself(ours, shifted, SEEDS)).outcome == "no"


def test_the_distances_of_predictions_are_total_variation_and_relative_difference():
    predictions = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.6, 0.4]], [[0.1, 0.9], [1.0, 0.0]]])
    found = pairwise(predictions, np.array([0, 0]))
    assert found["total_variation"][0, 1] == pytest.approx(0.4 / 2)
    assert found["relative_difference"][0, 1] == pytest.approx((0 + 0.4 / 0.8) / 2)
    assert found["relative_difference"][2, 0] == pytest.approx((0.4 / 0.3 + 0) / 2)


def test_contributions_average_to_the_mean_of_all_pairs():
    points = np.random.default_rng(0).normal(size=(8, 1))
    distances = np.abs(points - points.T)
    assert contributions(distances).mean() == pytest.approx(distances[np.triu_indices(8, 1)].mean())


def predicted(spread: dict[str, float], networks: int = 12) -> pd.DataFrame:
    """Pseudo-values of networks that are points, whose distances grow with the spread."""
    rows = []
    for name, scale in spread.items():
        points = scale * np.random.default_rng([*name.encode()]).normal(size=(networks, 50))
        distances = np.abs(points[:, None] - points[None]).mean(axis=2)
        run = {"experiment": "noise", "cell": name, "task": "text", "model": "transformer", "activation": name}
        run |= {"learning_rate": 3e-3, "step": 300, "split": "test"}
        for seed, value in enumerate(contributions(distances)):
            rows += [run | {"seed": seed, "metric": metric, "value": value} for metric in METRICS]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("scale", "outcome"), [(0.7, "yes"), (1.0, "inconclusive"), (1.4, "no")])
def test_networks_that_predict_more_alike_are_called_so(scale, outcome):
    found = compare(
        predicted({"relu": 1.0, "gelu": scale}), baseline="relu", metric="total_variation:min", split="test"
    )
    assert more_alike(found.arms[0], "total_variation").outcome == outcome


def test_findings_have_every_part():
    made = study.findings(
        {"noise_floor_sources": sources(BOTH), "noise_floor_again": repeated(BOTH)},
        {"predictions": predicted({"relu": 1.0, "gelu": 0.5})},
    )
    assert list(made.sections) == ["sources", "predictions", "again"]
    assert all(section.figure is not None and len(section.table) for section in made.sections.values())
    assert [verdict.outcome for verdict in made.verdicts][-4:] == ["yes", "yes", "yes", "yes"]
