"""The study of the published activations: planted differences are found, equal arms are not told apart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from synthetic import results

from experiments.studies.activation_zoo import (
    ARMS,
    PUBLISHED,
    agreements,
    bits,
    correlation,
    gating,
    over_sizes,
    published_only,
    readings,
    study,
)
from lab.comparison.comparison import compare
from lab.experiment.study import Findings
from lab.report.studies.reproduction import Verdict
from lab.results.results import Results
from models.activations import ACTIVATIONS

SOME = ("gelu_tanh", "relu", "silu", "elu", "softmax", "abs", "softplus", "triangle_relax", "relu2", "swiglu")


def found(offsets: dict[str, float], size: int = 0, seeds: int = 5, spread: float = 0.004) -> Results:
    """Results whose arms are a published one's bits per byte plus noise of their own, and of the seed."""
    records = []
    for name in SOME:
        for seed in range(seeds):
            shared = np.random.default_rng([size, seed]).normal(0, 2 * spread)
            own = np.random.default_rng([size, seed, *name.encode()]).normal(0, spread)
            end = 3.0 + offsets.get(name, 0.0) + shared + own
            run = {"experiment": "zoo", "cell": f"{name}-1a2b3c4d", "task": "text", "model": "transformer"}
            run |= {"activation": name, "seed": seed, "learning_rate": 3e-3, "split": "validation"}
            for step, value in ((0, 8.0), (300, end)):
                records.append(run | {"step": step, "metric": "bits_per_byte", "value": value})
                records.append(run | {"step": step, "metric": "loss", "value": value * np.log(2)})
    made = results(pd.DataFrame(records))
    made.experiment.update(baseline="gelu_tanh", metric="bits_per_byte")
    return made


def findings(offsets: dict[str, float]) -> Findings:
    return study.findings(
        {f"activation_zoo_{size}": found(offsets, i) for i, size in enumerate(("small", "large"))}, {}
    )


def outcomes(verdicts: Sequence[Verdict]) -> dict[str, str]:
    return {verdict.claim: verdict.outcome for verdict in verdicts}


def read(offsets: dict[str, float], **fields) -> dict[str, str]:
    made = found(offsets, **fields)
    return outcomes(readings("small", compare(made), compare(published_only(made))))


def table(offsets: dict[str, float], size: int = 0) -> pd.DataFrame:
    made = found(offsets, size)
    return bits(made, compare(made))


def test_the_table_is_whole_and_all_of_it_is_trained():
    assert len(PUBLISHED) == 30
    assert PUBLISHED["bits_per_byte"].idxmin() == "gelu_tanh"
    assert set(PUBLISHED.index) < set(ARMS["short"]) == set(ARMS["full"]) < set(ACTIVATIONS)
    assert len(ARMS["short"]) == 85


def test_of_equal_arms_nothing_is_resolved():
    assert set(outcomes(findings({}).verdicts).values()) == {"inconclusive"}


def test_planted_differences_are_found_and_ranked():
    planted = {"softmax": 0.2, "abs": 0.1, "swiglu": -0.1, "relu2": -0.05}
    made = findings(planted)
    told = outcomes(made.verdicts)
    assert told["small: activations differ by more than seeds do"] == "yes"
    assert told["large: GELU is ahead of all others published"] == "inconclusive"
    assert told["Something is ahead of GELU at both sizes"] == "yes"
    order = made.sections["differences"].table["activation"].tolist()
    assert order[:2] == ["swiglu", "relu2"]
    assert order[-2:] == ["abs", "softmax"]
    ranked = made.sections["ranking_small"].table.set_index("activation")
    assert ranked.loc["swiglu", ["rank", "verdict"]].tolist() == [1, "better"]
    assert ranked.loc["softmax", "verdict"] == "worse"
    assert ranked.loc["gelu_tanh", ["table's rank", "table's bits/byte"]].tolist() == ["1", "1.1453"]


def test_one_that_beats_gelu_contradicts_the_table():
    claim = "small: GELU is ahead of all others published"
    assert read({"relu": -0.1})[claim] == "no"
    assert read(dict.fromkeys(set(SOME) - {"gelu_tanh"}, 0.1))[claim] == "yes"


def test_the_published_arms_are_a_family_of_their_own():
    made = found({"silu": -0.006})
    whole, alone = ({arm.activation: arm for arm in compare(one).arms} for one in (made, published_only(made)))
    assert set(whole) - set(alone) == {"relu2", "swiglu"}
    assert alone["silu"].p_adjusted == pytest.approx(whole["silu"].p_adjusted * 7 / 9)  # Holm: the smallest of 7, of 9
    _, _, lead = readings("small", compare(made), compare(published_only(made)))
    assert lead.reason.startswith("of 7 others")


@pytest.mark.parametrize(("offset", "outcome"), [(-0.1, "yes"), (0.1, "no"), (0.0, "inconclusive")])
def test_gated_units_are_held_against_the_functions_that_gate_them(offset, outcome):
    rng = np.random.default_rng(0)
    names = ["relu", "reglu", "silu", "swiglu", "identity", "bilinear", "tanh", "mish_glu", "swiglu_clamped"]
    there = pd.DataFrame(3 + rng.normal(0, 0.01, (len(names), 5)), index=names)
    there.loc[["reglu", "swiglu", "bilinear"]] += offset
    there.loc[["tanh", "mish_glu"]] += 1  # there one way only
    (found,) = gating("small", there, 0.95)
    assert found.outcome == outcome
    assert "mean of 3 functions, of which " in found.reason
    assert gating("small", there.loc[["relu", "silu"]], 0.95) == []


def test_the_published_range_is_held_against_our_noise():
    claim = "small: the published range of 0.0060 bits/byte exceeds our noise"
    assert read({})[claim] == "inconclusive"
    assert read({}, spread=1e-4)[claim] == "yes"
    assert read({}, seeds=1)[claim] == "no verdict"


@pytest.mark.parametrize(("sign", "outcome"), [(1, "yes"), (-1, "no")])
def test_the_order_of_the_table_is_recognised(sign, outcome):
    published = PUBLISHED[["bits_per_byte"]]
    ordered = (sign * 20 * (published["bits_per_byte"] - 1.145)).to_dict()
    small, large = table(ordered), table(ordered, 1)
    assert agreements({"published and small": correlation(small, published)})[0].outcome == outcome
    assert agreements({"small and large": correlation(small, large)})[0].outcome == "yes"
    assert agreements({"published and small": correlation(table({}), published)})[0].outcome == "inconclusive"


def test_two_activations_have_no_ranking():
    two = pd.DataFrame({0: [1.0, 2.0]}, index=["gelu", "relu"])
    assert correlation(two, two) is None


def test_a_ratio_over_sizes_is_one_of_losses():
    one = pd.DataFrame(np.outer([1.0, 1.1], [2.0, 3.0, 4.0]), index=["gelu_tanh", "relu"])
    both = over_sizes({"small": one, "large": 2 * one}, 0.95)
    assert both["activation"].tolist() == ["gelu_tanh", "relu"]
    assert both[["ratio", "low", "high"]].to_numpy() == pytest.approx(np.outer([1.0, 1.1], [1, 1, 1]))
