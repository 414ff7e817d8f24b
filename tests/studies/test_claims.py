"""The claims about GELU: each is complete, and what is planted in the evidence is what it says."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import synthetic
from refusals import refused

from experiments import claims
from experiments.claims import (
    better_in_transformers,
    cost,
    dying_relu,
    not_always_superior,
    probabilistic_gate,
    smooth,
    vanishing_in_the_extremes,
    works_with_layernorm,
)
from experiments.claims.networks import CLASSIFIER, DECODER, NORMS, PERCEPTRON, Evidence, by_seed
from lab.comparison.networks.claim import DEPENDS, FAILS, HOLDS, OPEN, Part, read
from lab.experiment.study import InParts
from lab.report.studies import claims as report
from lab.runner.studies import carry_out
from models.activations import activation

STUDY = claims.study
FOLDER = Path(claims.__file__).parent
RATES = (0.006, 0.03)


def evidence(advantages, noise=0.002, measured=None):
    """Losses of 8 seeds; (activation, grid, norm or rate) -> its loss minus gelu's, 0 where it is not named."""
    rng, rows = np.random.default_rng(0), []
    for grid, norms, rates in (
        (DECODER, ("layernorm",), RATES),
        (NORMS, ("rmsnorm", "none"), RATES[:1]),
        (PERCEPTRON, ("layernorm",), RATES),
        (CLASSIFIER, ("layernorm",), RATES[:1]),
    ):
        for norm in norms:
            for rate in rates:
                for seed in range(8):
                    for name in ("gelu", "relu", "leaky_relu", "silu", "relu2", "swiglu", "soi"):
                        more = advantages.get((name, grid, norm), advantages.get((name, grid, rate), 0.0))
                        value = 2 + seed / 10 + more + noise * rng.normal()
                        rows.append([grid, name, norm, rate, seed, value])
    found = Evidence({}, measured or {})
    columns = ["grid", "activation", "norm", "learning_rate", "seed", "value"]
    object.__setattr__(found, "losses", pd.DataFrame(rows, columns=columns))
    object.__setattr__(found, "rates", lambda grid=DECODER: list(RATES))
    return found


def outcome(claim, given):
    readings = read(claim.parts(given))
    return report.told(claim, readings).verdict.outcome


def test_every_claim_is_a_file_that_says_what_it_is_about():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "claim", "networks"}
    assert [one.name for one in STUDY.claims] == list(dict.fromkeys(one.name for one in STUDY.claims))
    assert {one.name for one in STUDY.claims} == files
    assert len(files) == 11
    for one in STUDY.claims:
        docstring = ast.get_docstring(ast.parse((FOLDER / f"{one.name}.py").read_text()))
        assert "Commonly made" in docstring or "motivation of the paper" in docstring, one.name
        for said in (one.statement, one.made, one.control, one.measured, one.varies):
            assert said
            assert not said.endswith(".")
        assert "gelu" in {activation(name).name for names in one.arms.values() for name in names}


def test_one_claim_trains_only_what_it_needs():
    assert isinstance(STUDY, InParts)
    (decoder,) = STUDY.only(["non_monotone"]).experiments("short")
    assert decoder.activations == ("gelu", "gelu_monotone")
    whole = {one.name: one for one in STUDY.experiments("short")}
    assert list(whole) == [DECODER, NORMS, PERCEPTRON, CLASSIFIER]
    assert decoder.definition == whole[DECODER].definition
    assert set(decoder.activations) < set(whole[DECODER].activations)


def test_an_unknown_claim_is_refused_and_a_study_without_parts_has_none(tmp_path):
    with refused("--only", "'smoth'", "'smooth'"):
        carry_out(STUDY, "smoke", tmp_path, None, None, ["smoth"])

    class Whole:
        name = "whole"

    with refused("--only", "smooth", "whole"):
        carry_out(Whole(), "smoke", tmp_path, None, None, ["smooth"])


@pytest.mark.parametrize(
    ("none", "rms", "expected"),
    [(-0.05, 0.0, HOLDS), (0.08, 0.08, FAILS), (-0.05, 0.05, DEPENDS), (0.05, 0.04, FAILS)],
)
def test_works_with_layernorm_is_an_interaction(none, rms, expected):
    given = evidence(
        {("relu", DECODER, RATES[0]): 0.04, ("relu", NORMS, "none"): none, ("relu", NORMS, "rmsnorm"): rms}
    )
    assert outcome(works_with_layernorm.claim, given).startswith(expected)


@pytest.mark.parametrize(("mlp", "noise", "expected"), [(0.0, 0.002, HOLDS), (0.04, 0.002, FAILS), (0.0, 0.2, OPEN)])
def test_better_in_transformers_is_one_too(mlp, noise, expected):
    gains = {("relu", DECODER, rate): 0.04 for rate in RATES} | {("relu", PERCEPTRON, rate): mlp for rate in RATES}
    assert outcome(better_in_transformers.claim, evidence(gains, noise)) == expected


def test_not_always_superior_holds_where_one_rival_is_ahead_in_one_task():
    behind = {(name, grid, RATES[0]): 0.05 for name in not_always_superior.RIVALS for grid in not_always_superior.TASKS}
    assert outcome(not_always_superior.claim, evidence(behind)) == FAILS
    assert outcome(not_always_superior.claim, evidence(behind | {("silu", PERCEPTRON, RATES[0]): -0.03})) == HOLDS
    open_in_one = outcome(not_always_superior.claim, evidence(behind | {("silu", PERCEPTRON, RATES[0]): 0.01}, 0.01))
    assert open_in_one == f"{OPEN} ({FAILS} in 11 of 12 parts)"


def test_a_layer_that_is_nan_is_not_left_out_of_the_mean_over_layers():
    rows = pd.DataFrame({"seed": [0, 0, 1, 1], "value": [1.0, 3.0, np.nan, 3.0]})
    assert by_seed(rows).to_dict() == {0: 2.0, 1: pytest.approx(np.nan, nan_ok=True)}


@pytest.mark.parametrize(
    ("dead", "loss", "expected"), [(0.2, 0.05, HOLDS), (0.0, 0.0, FAILS), (0.2, 0.0, DEPENDS), (0.2, -0.05, DEPENDS)]
)
def test_dying_relu_is_about_units_and_about_loss(dead, loss, expected):
    rows = [
        {
            "grid": grid,
            "activation": name,
            "learning_rate": rate,
            "seed": seed,
            "value": (name == "relu") * (rate == RATES[1]) * dead,
        }
        for grid in (DECODER, PERCEPTRON)
        for name in dying_relu.NAMES
        for rate in RATES
        for seed in range(8)
    ]
    given = evidence(
        {("relu", grid, RATES[1]): loss for grid in (DECODER, PERCEPTRON)},
        0.001,
        {"dying_relu_dead": pd.DataFrame(rows)},
    )
    assert outcome(dying_relu.claim, given).startswith(expected)
    table = dying_relu.details(given).set_index(["network", "activation", "learning_rate"])
    assert table.loc[(DECODER, "relu", RATES[1]), "dead"] == pytest.approx(dead)


def test_ratios_of_times_are_within_a_round():
    drift = np.linspace(1, 5, 21)  # other work on the machine
    factors = {"relu": 1.0, "gelu": 1.5, "gelu_tanh": 1.5, "gelu_quick": 2.0}
    rows = [
        {"activation": name, "where": where, "round": number, "value": factor * slow, "device": "cpu"}
        for name, factor in factors.items()
        for where in ("alone", "network")
        for number, slow in enumerate(drift)
    ]
    found = read(cost.parts(Evidence({}, {"cost_times": pd.DataFrame(rows)})))
    assert [np.exp(one.value) for one in found] == pytest.approx([1.5, 1.5, 1.0, 1.0, 0.75, 0.75])
    assert [one.outcome for one in found] == [HOLDS, HOLDS, FAILS, FAILS, FAILS, FAILS]


def test_the_slope_in_closed_form_is_gelu_s():
    for z in (-6.0, -4.0, -0.7518, 0.0, 1.5):
        assert vanishing_in_the_extremes.slope(z) == pytest.approx(float(jax.grad(activation("gelu"))(z)), abs=1e-6)
    assert vanishing_in_the_extremes.slope(-4.0) == pytest.approx(-5.036e-4, rel=1e-3)


def test_the_kinked_twin_has_gelu_s_values_at_its_knots_and_is_close_between():
    twin, gelu = smooth.TWIN, activation("gelu")
    inner = jnp.asarray(smooth.KNOTS[1:-1], jnp.float32)
    np.testing.assert_allclose(twin(inner), gelu(inner), atol=2e-6)
    x = jnp.linspace(-12, 12, 9601)
    apart = np.abs(np.asarray(twin(x) - gelu(x)))
    assert 0.02 < apart.max() <= 0.025
    slopes = np.unique(np.round(np.asarray(jax.vmap(jax.grad(twin))(x + 0.001)), 3))
    assert len(slopes) == len(smooth.KNOTS) + 1
    assert float(twin(jnp.float32(1e4))) == 1e4
    assert float(twin(jnp.float32(-1e4))) == 0


def test_losses_come_from_the_results_of_every_grid():
    decoder = synthetic.results(synthetic.rows(learning_rates=RATES))
    norms = synthetic.results(synthetic.rows(("gelu", "relu"), learning_rates=RATES[:1], axes={"norm": ("none",)}))
    found = Evidence({DECODER: decoder, NORMS: norms}, {})
    last = {rate: synthetic.curve("relu", 3, rate)[-1] - synthetic.curve("gelu", 3, rate)[-1] for rate in RATES}
    for place, rate in enumerate(RATES):
        assert found.difference("relu", rate=place)[3] == pytest.approx(last[rate])
    assert found.difference("relu", norm="none")[3] == pytest.approx(last[RATES[0]])


def test_an_open_claim_says_how_many_parts_are_decided():
    claim = works_with_layernorm.claim
    for values, words in (
        ([[1, 1.1, 0.9], [1, -1, 0]], "inconclusive (holds in 1 of 2 parts)"),
        ([[-1, -1.1, -0.9], [1, -1, 0]], "inconclusive (does not hold in 1 of 2 parts)"),
        ([[1, -1, 0], [1, -1, 0]], "inconclusive"),
        ([[1, 1.1, 0.9], [-1, -1.1, -0.9]], f"depends on {claim.varies}"),
    ):
        parts = [Part(str(place), np.array(own, float), 0.1) for place, own in enumerate(values)]
        assert report.told(claim, read(parts)).verdict.outcome == words


def test_too_few_rounds_give_a_ratio_from_0_to_infinity():
    (reading,) = read([Part("a", np.zeros(3), 0.1, unit="x", centre="median")])
    assert report.number(reading) == "1.000 (0.000 to inf, n = 3)"


def test_a_part_is_shown_with_its_margin_and_ratios_are_no_logarithms():
    values = np.log([1.2, 1.3, 1.25])
    section = report.parts(cost.claim, read([Part("a", values, np.log(1.05), unit="x"), Part("b", values, 0.1)]))
    ratio, other = section.table.to_dict("records")
    assert (ratio["value"], ratio["margin"]) == pytest.approx((1.249, 1.05), abs=1e-3)
    assert ratio["unit"] == "ratio"
    assert other["value"] == pytest.approx(values.mean())
    assert len(section.figure.axes) == 2  # a panel a unit


def test_the_mean_of_draws_is_x_phi(monkeypatch):
    monkeypatch.setattr(probabilistic_gate, "DRAWS", 50_000)
    measured = probabilistic_gate.measure(None, {}, "smoke")
    *_, mean = read(probabilistic_gate.parts(evidence({}, measured=measured)))
    assert mean.outcome == HOLDS
    assert 0 < mean.value < 0.002


def test_the_table_has_a_row_a_claim_with_its_first_part():
    given = evidence(
        {("relu", DECODER, RATES[0]): 0.04, ("relu", NORMS, "none"): -0.05, ("relu", NORMS, "rmsnorm"): 0.05}
    )
    told = [
        report.told(one, read(one.parts(given)))
        for one in (works_with_layernorm.claim, better_in_transformers.claim, not_always_superior.claim)
    ]
    section, figure = report.summary(told).values()
    assert list(section.table["claim"]) == [one.claim.statement for one in told]
    assert "LayerNorm - no norm" in section.table["first_part"][0]
    assert section.table["verdict_on_it"].tolist()[:2] == [HOLDS, HOLDS]
    assert section.table["n"].tolist() == [8, 8, 8]
    assert figure.figure is not None
    labels = [label.get_text() for label in figure.figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["works_with_layernorm", "advantage over relu, LayerNorm - no norm"]
    assert len(labels) == sum(1 + len(one.readings) for one in told)
