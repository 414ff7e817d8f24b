"""The study of GLU variants: what was planted is found, and what was not is not."""

import numpy as np
import pytest
import synthetic

from experiments.studies import glu_variants
from experiments.studies.glu_variants import PAPER, study

NAME = "glu_variants-decoder-adamw"
PUBLISHED = PAPER["65,536 steps"] - PAPER["65,536 steps"]["relu"]


@pytest.fixture
def planted(monkeypatch):
    """Findings of an experiment in which the paper's differences, times a factor, are planted."""

    def found(factor, seeds=8, first=0, change=lambda table: table):
        monkeypatch.setattr(synthetic, "OFFSETS", dict(factor * PUBLISHED))
        table = synthetic.rows(tuple(PAPER.index), range(first, first + seeds))
        return study.findings({NAME: synthetic.results(change(table))}, {})

    return found


@pytest.mark.parametrize(
    ("factor", "outcomes"),
    [
        (3, ["yes", "yes", "reproduced"]),
        (-3, ["no, higher", "no", "not reproduced"]),
    ],
)
def test_verdicts_are_those_of_what_was_planted(planted, factor, outcomes):
    assert [verdict.outcome for verdict in planted(factor).verdicts] == outcomes


def test_what_was_not_planted_is_hardly_ever_found(planted):
    drawn = [[verdict.outcome for verdict in planted(0, first=8 * block).verdicts] for block in range(6)]
    for outcomes in zip(*drawn, strict=True):  # each errs once in 20: more than twice in 6 is once in 400
        assert sum(outcome != "inconclusive" for outcome in outcomes) <= 2


def test_one_seed_gives_no_verdict_but_numbers(planted):
    gating, order, pairs = planted(3, seeds=1).verdicts
    assert [gating.outcome, order.outcome, pairs.outcome] == ["no verdict", "no verdict", "inconclusive"]
    assert "difference −0.1" in gating.reason.replace("-", "−")
    assert "n = 1" in order.reason


def test_the_papers_own_differences_are_resolved_beyond_two_standard_errors(planted):
    pairs = planted(1).sections["pairs_decoder_adamw"].table.set_index(["first", "second"])
    assert len(pairs) == 28
    known = pairs["resolved in the paper"]
    assert known["relu", "gelu_tanh"]  # 0.014 against 2 * 0.0035
    assert not known["relu", "silu"]  # 0.003 against 2 * 0.0029
    assert not known["gelu_tanh_glu", "swiglu"]
    assert pairs["paper"]["relu", "swiglu"] == pytest.approx(1.997 - 1.944)


def test_the_table_has_the_papers_numbers_beside_ours(planted):
    table = planted(3).sections["table_1"].table.set_index("activation")
    assert list(table.index) == list(PAPER.index)
    assert (table["decoder adamw, n"] == 8).all()
    ours = table["decoder adamw"] - table["decoder adamw"]["relu"]
    np.testing.assert_allclose(ours, 3 * PUBLISHED, atol=0.01)


def test_a_diverged_run_counts_as_worst(planted):
    found = planted(3, change=lambda table: synthetic.diverge(table, "swiglu", 2, 1000))
    table = found.sections["table_1"].table.set_index("activation")
    assert table["decoder adamw, sd"].idxmax() == "swiglu"
    assert (table["decoder adamw, n"] == 8).all()


def test_the_full_budget_has_the_papers_shape():
    first = study.experiments("full")[0]
    assert (first.task.input_length, first.task.target_length) == (512, 114)
    gated = first.model.clone(activation="swiglu")
    assert (first.model.hidden_width, gated.hidden_width) == (3072, 2048)
    assert glu_variants.words(first.name) == "encoder-decoder adafactor"
