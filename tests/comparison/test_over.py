"""Claims about other texts like this one rest on the standard error over seeds and text."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic
from refusals import refused
from scipy import stats

from lab.comparison import looks
from lab.comparison.comparison import compare
from lab.comparison.question import Question, question
from lab.comparison.verdict import Pairs, evidence
from lab.results.examples import Examples
from lab.results.looks import number
from lab.results.results import Results
from lab.runner import gate

DIFFERENCES = np.array([0.02, 0.03, 0.01, 0.05, 0.03, 0.02])
ASKED = Question("gelu", "loss", "min", "validation", margin=0.08, fixed_seeds=True)


def pairs(over, se_choice=0.0):
    return Pairs(tuple(range(6)), DIFFERENCES, (6,), se_choice, 0.02, 9.0, over)


def test_the_interval_is_that_of_the_error_over_seeds_and_text():
    found = evidence(pairs("seeds_and_text"), ASKED, 0.95)
    half = stats.t.ppf(0.975, 9) * 0.02
    mean = DIFFERENCES.mean()
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))
    assert found.single_p == pytest.approx(2 * stats.t.sf(mean / 0.02, 9))
    assert found.equivalence_p[0] == pytest.approx(stats.t.sf((0.08 - mean) / 0.02, 9))
    alone = evidence(pairs("seeds"), ASKED, 0.95)
    assert (alone.low, alone.high) == pytest.approx(stats.t.interval(0.95, 5, mean, stats.sem(DIFFERENCES)))


def test_the_choice_of_rates_adds_to_it():
    found = evidence(pairs("seeds_and_text", se_choice=0.02), ASKED, 0.95)
    alone = evidence(pairs("seeds_and_text"), ASKED, 0.95)
    assert found.high - found.low > alone.high - alone.low


def test_the_widened_differences_have_that_error():
    spread = pairs("seeds_and_text", se_choice=0.01).spread
    assert stats.sem(spread) == pytest.approx(np.hypot(0.02, 0.01))
    assert spread.mean() == pytest.approx(DIFFERENCES.mean())


def kept(rng, cell, seeds, step):
    """Losses on 40 documents, whose effects differ between the cells."""
    of_document = rng.normal(0, 0.3, 40)
    values = (2.0 + of_document + rng.normal(0, 0.01, (len(seeds), 40))).astype(np.float32)
    return Examples(values, np.ones(40), np.arange(40), pd.DataFrame({"seed": seeds}))


def test_texts_widen_the_intervals_of_a_comparison(monkeypatch):
    found = synthetic.results(synthetic.rows(["gelu", "silu"], seeds=range(5)))
    rng = np.random.default_rng(0)
    examples = {cell["cell"]: kept(rng, cell, list(range(5)), 2000) for cell in found.cells}
    monkeypatch.setattr(Results, "examples", lambda self, cell, *_: examples[cell])
    cells = tuple({**cell, "settings": {**cell.get("settings", {}), "steps": 2000}} for cell in found.cells)
    found = replace(found, cells=cells)
    seeds, text = (compare(found, over=over) for over in ("seeds", "seeds_and_text"))
    assert text.to_dict()["over"] == "seeds_and_text"
    (narrow,), (wide,) = seeds.arms, text.arms
    assert wide.high - wide.low > narrow.high - narrow.low
    assert wide.p > narrow.p
    assert (wide.difference, wide.se_seeds) == (narrow.difference, narrow.se_seeds)


def test_without_losses_per_example_there_is_no_such_claim():
    found = synthetic.results(synthetic.rows(["gelu", "silu"], seeds=range(5)))
    with refused("over", "seeds_and_text", "silu", "seeds"):
        compare(found, over="seeds_and_text")
    with refused("over", "text", "seeds_and_text"):
        compare(found, over="text")


@pytest.mark.parametrize(("lacking", "named"), [("gelu", "gelu"), ("silu", "silu"), ("gelu silu", None)])
def test_missing_losses_per_example_are_said_unless_none_were_kept(monkeypatch, lacking, named):
    found = synthetic.results(synthetic.rows(["gelu", "silu", "relu"], seeds=range(5)))
    rng = np.random.default_rng(0)
    examples = {
        cell["cell"]: None if cell["activation"] in lacking else kept(rng, cell, list(range(5)), 2000)
        for cell in found.cells
    }
    if named is None:
        examples = dict.fromkeys(examples)
    monkeypatch.setattr(Results, "examples", lambda self, cell, *_: examples[cell])
    cells = tuple({**cell, "settings": {**cell.get("settings", {}), "steps": 2000}} for cell in found.cells)
    said = [caution for caution in compare(replace(found, cells=cells)).cautions if "over text" in caution]
    assert len(said) == (named is not None)
    assert all(named in caution for caution in said)


def with_examples(monkeypatch, directory=None):
    """Results whose losses per example are known."""
    table = synthetic.rows(["gelu", "silu"], seeds=range(5), axes={"norm": ["layernorm", "rmsnorm"]})
    found = synthetic.results(table, *([] if directory is None else [directory]))
    rng = np.random.default_rng(0)
    examples = {cell["cell"]: kept(rng, cell, list(range(5)), 2000) for cell in found.cells}
    monkeypatch.setattr(Results, "examples", lambda self, cell, *_: examples[cell])
    cells = tuple({**cell, "settings": {**cell.get("settings", {}), "steps": 2000}} for cell in found.cells)
    return replace(found, cells=cells)


def test_what_is_over_seeds_alone_is_refused_or_left_out(monkeypatch):
    found = with_examples(monkeypatch)
    with refused("over", "seeds_and_text", "norm"):
        compare(found, over="seeds_and_text", axis="norm")
    assert {arm.pairs_needed for arm in compare(found, over="seeds_and_text").arms} == {None}
    assert None not in {arm.pairs_needed for arm in compare(found).arms}


def test_a_gate_is_by_the_same_error(monkeypatch):
    found = with_examples(monkeypatch)
    asked = question(found, over="seeds_and_text")
    for arm in compare(found, over="seeds_and_text").arms:
        assert evidence(gate._of_arm(arm, asked).pairs, asked, 0.95).single_p == pytest.approx(arm.p)
    with refused("over", "seeds_and_text"):
        gate._between(found, found, asked, None)


def test_a_comparison_over_text_is_another_one(monkeypatch):
    found = with_examples(monkeypatch)
    both = [looks.seen(compare(found, over=over)) for over in ("seeds", "seeds_and_text")]
    assert number(both[:1], both[1]) == (2, 2)
