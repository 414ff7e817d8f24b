"""What was asked for and is absent is named and counted; copies that file managers make are ignored and named."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from refusals import refused

import ablations
from lab.results import results
from lab.results.cells import CellDirectory

OLD = Path(__file__).parents[1] / "results_0_1_0"


@pytest.fixture(params=["old", "new"])
def folder(request, tmp_path):
    """Results of 8 seeds of gelu, silu and swiglu as version 0.1.0 recorded them, and as this one does."""
    copied = shutil.copytree(OLD, tmp_path / "results")
    if request.param == "new":
        record = json.loads((copied / "experiment.json").read_text())
        record["arms"] = {
            cell: {"activation": cell.split("-")[0], "axes": {}, "seeds": record["seeds"], "points": 1}
            for cell in record["cells"]
        }
        (copied / "experiment.json").write_text(json.dumps(record))
    return copied


def cell(folder, activation):
    (found,) = folder.glob(f"cells/{activation}-*")
    return found


def test_an_absent_arm_counts_in_the_correction(folder):
    before = {arm.activation: arm for arm in ablations.compare(folder).arms}
    shutil.rmtree(cell(folder, "silu"))
    after = ablations.compare(folder)
    (swiglu,) = after.arms
    assert after.family_size == 2
    assert swiglu.p == before["swiglu"].p
    assert swiglu.p_adjusted == pytest.approx(2 * swiglu.p / 0.8)  # a first look
    assert swiglu.p_adjusted >= before["swiglu"].p_adjusted
    assert any("silu" in sentence for sentence in after.to_dict()["missing"])


def test_an_absent_baseline_is_asked_for_and_no_other_name_suggested(folder):
    shutil.rmtree(cell(folder, "gelu"))
    with refused("baseline", "gelu"):
        ablations.compare(folder)


def test_an_absent_seed_is_named(folder):
    (wave,) = cell(folder, "silu").glob("runs-*")
    table = results.read(folder).rows
    metrics = wave / "metrics.parquet"
    import pandas as pd

    frame = pd.read_parquet(metrics)
    frame[frame["seed"] != 3].to_parquet(metrics)
    missing = ablations.compare(folder).missing
    assert len(table) > 0
    assert len(missing) == 1
    assert "silu" in missing[0]
    assert "3" in missing[0] or "7 of 8" in missing[0]


def test_a_metric_that_an_arm_lacks_is_named(folder):
    import pandas as pd

    (wave,) = cell(folder, "silu").glob("runs-*")
    frame = pd.read_parquet(wave / "metrics.parquet")
    frame[frame["metric"] != "bits_per_byte"].to_parquet(wave / "metrics.parquet")
    found = ablations.compare(folder, metric="bits_per_byte")
    assert any("silu" in sentence and "bits_per_byte" in sentence for sentence in found.missing)
    assert found.family_size == 2


def test_copies_are_ignored_and_named(folder):
    whole = ablations.compare(folder)
    silu = cell(folder, "silu")
    (wave,) = silu.glob("runs-*")
    shutil.copytree(silu, silu.with_name(f"{silu.name} copy"))
    shutil.copytree(wave, wave.with_name(f"{wave.name} (conflicted copy)"))
    (folder / ".DS_Store").write_bytes(b"\0")
    (silu / ".DS_Store").write_bytes(b"\0")
    found = ablations.compare(folder)
    assert repr(found.arms) == repr(whole.arms)
    told = " ".join(found.cautions)
    assert f"{silu.name} copy" in told
    assert f"{wave.name} (conflicted copy)" in told


def test_two_waves_with_the_same_runs_are_refused_by_name(folder):
    (wave,) = cell(folder, "silu").glob("runs-*")
    shutil.copytree(wave, wave.with_name("runs-00000000"))
    with pytest.raises(ValueError, match=rf"runs-00000000.*{wave.name}"):
        ablations.compare(folder)


def test_nothing_is_missing_where_all_is_there(folder):
    found = ablations.compare(folder)
    assert found.missing == ()
    assert found.family_size == len(found.arms) == 2


def test_the_values_of_the_baseline_are_read_once_for_all_arms(folder, monkeypatch):
    read = Counter()

    def examples(self, *_):
        read[self.path.name] += 1

    monkeypatch.setattr(CellDirectory, "examples", examples)
    ablations.compare(folder)
    assert len(read) == 3
    assert set(read.values()) == {1}
