"""Looks are written down, and seeds that were added after one count."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from scipy import stats

from lab.comparison import looks
from lab.comparison.comparison import compare
from lab.comparison.question import Question
from lab.comparison.verdict import Pairs, evidence, findings
from lab.report import report
from lab.results.looks import FILE, Look, read
from lab.statistics.looks import interval_after, p_after

PLAN = {"file": "plan.json", "sha256": "0" * 64, "fields": {}}


def begun(tmp_path, n):
    """Results of n seeds in a folder."""
    found = synthetic.results(synthetic.rows(["gelu", "silu", "relu"], seeds=range(n)), tmp_path)
    found.experiment["plan"] = PLAN
    (tmp_path / "experiment.json").write_text(json.dumps(found.experiment))
    return found


def seen(tmp_path, n, **asked):
    found = begun(tmp_path, n)
    compared = compare(found, **asked)
    looks.record(found, compared)
    return compared


def test_a_single_look_is_the_t_test(tmp_path):
    alone = compare(begun(tmp_path, 8).rows, "gelu")
    for compared in (seen(tmp_path, 8), seen(tmp_path, 8)):  # to see the same again shows nothing new
        assert repr(compared.arms) == repr(alone.arms)
    assert len(read(tmp_path)) == 1


def test_added_seeds_count_as_looks(tmp_path):
    for n in (5, 8):
        seen(tmp_path, n)
    found = {arm.activation: arm for arm in compare(begun(tmp_path, 12)).arms}
    silu = found["silu"]
    differences = np.array(silu.differences)
    assert silu.looks == (5, 8, 12)
    assert silu.p_adjusted == pytest.approx(p_after(differences, (5, 8, 12))[-1], rel=1e-6)
    interval = interval_after(differences, (5, 8, 12))
    assert (silu.low, silu.high) == pytest.approx((float(interval.low), float(interval.high)))
    plain = {arm.activation: arm for arm in compare(begun(tmp_path, 12).rows, "gelu").arms}["silu"]
    assert silu.low < plain.low
    assert silu.p_adjusted > plain.p_adjusted


def test_the_order_in_which_seeds_were_seen_is_kept(tmp_path):
    first = synthetic.results(synthetic.rows(["gelu", "silu"], seeds=[10, 11, 12]), tmp_path)
    (tmp_path / "experiment.json").write_text("{}")
    looks.record(first, compare(first))
    (arm,) = compare(synthetic.results(synthetic.rows(["gelu", "silu"], seeds=[0, 1, 10, 11, 12]), tmp_path)).arms
    assert (arm.seeds, arm.looks) == ((10, 11, 12, 0, 1), (3, 5))


def test_once_decided_stays_decided(tmp_path):
    decided = {arm.activation: arm.verdict for arm in seen(tmp_path, 5).arms}
    assert decided["relu"] == "worse"
    found = begun(tmp_path, 8)
    added = (found.rows["activation"] == "relu") & (found.rows["seed"] >= 5)
    spoilt = found.rows["value"].mask(added, found.rows["value"] - 0.3)
    fresh = replace(found, rows=found.rows.assign(value=spoilt), directory=tmp_path / "elsewhere")
    after = {arm.activation: arm for arm in compare(replace(fresh, directory=tmp_path)).arms}
    assert {arm.activation: arm.verdict for arm in compare(fresh).arms}["relu"] != "worse"
    assert after["relu"].verdict == "worse"


def test_other_comparisons_are_counted_and_told(tmp_path):
    seen(tmp_path, 5)
    second = seen(tmp_path, 5, metric="bits_per_byte")
    assert second.number == (2, 2)
    again = compare(begun(tmp_path, 5))
    assert again.number == (1, 2)
    assert any("1 of 2" in sentence for sentence in again.cautions)
    assert not any("seeds were added" in sentence for sentence in again.cautions)


def test_a_report_is_a_look_and_lines_are_only_added(tmp_path):
    report.write(begun(tmp_path, 5))
    before = (tmp_path / FILE).read_text()
    report.write(begun(tmp_path, 8))
    after = (tmp_path / FILE).read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 2
    assert "at" in json.loads(after.splitlines()[0])
    assert "seen at 5 pairs" in (tmp_path / "report.html").read_text()


def test_a_log_that_cannot_be_read_is_named_and_one_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    found = begun(tmp_path, 5)
    (tmp_path / FILE).write_text('{"at": 1}\n')
    with pytest.raises(ValueError, match=FILE):
        compare(found)
    (tmp_path / FILE).unlink()
    compared = compare(found)

    def refuse(directory, look):
        raise PermissionError(13, os.strerror(13), str(directory / FILE))

    monkeypatch.setattr(looks, "add", refuse)
    assert FILE in looks.record(found, compared)


def test_a_look_survives_its_file(tmp_path):
    look = Look("gelu", "loss", "validation", 2000, {"relu": (0, 1), "silu": (0, 1), "mish": (0,)})
    from lab.results.looks import add

    add(tmp_path, look)
    add(tmp_path, look)
    assert read(tmp_path) == (look,)


def test_the_first_look_pays_for_those_that_may_follow_unless_a_plan_fixed_the_seeds():
    spread = np.array([-1.0, -0.5, 0, 0.5, 1])
    mean = stats.t.ppf(1 - 0.045 / 2, 4) * spread.std(ddof=1) / np.sqrt(5)  # p .045
    pairs = Pairs(tuple(range(8)), np.concatenate([mean + spread, -spread[:3]]), (5, 8))
    first = Pairs(pairs.seeds[:5], pairs.differences[:5], (5,))
    open_ended = Question("gelu", "loss", "min", "validation")
    planned = replace(open_ended, fixed_seeds=True)
    for seen in (first, pairs):
        assert evidence(seen, open_ended, 0.95).p[0] == pytest.approx(0.045 / 0.8)
        assert findings([seen], open_ended, 1)[0].verdict == "inconclusive"
        assert evidence(seen, planned, 0.95).p[0] == pytest.approx(0.045)
        assert findings([seen], planned, 1)[0].verdict == "worse"


def test_what_was_planned_may_spend_all_of_alpha():
    open_ended = Question("gelu", "loss", "min", "validation")
    assert open_ended.alpha == pytest.approx(0.04)
    for planned in (replace(open_ended, fixed_seeds=True), replace(open_ended, planned_looks=(4, 8))):
        assert planned.alpha == pytest.approx(0.05)
