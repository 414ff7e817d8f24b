"""Two results of one experiment: what differs is found and told, what does not is said to be identical."""

import re
from dataclasses import replace

import pandas as pd
import pytest
import synthetic
from markup import Page, words_of
from refusals import refused

from lab.report.contrast import write


def shifted(results, activation, seed, by, since=0):
    """The same results, one run of which has other losses from a step on."""
    rows = results.rows
    run = (rows["activation"] == activation) & (rows["seed"] == seed) & (rows["metric"] == "loss")
    return replace(
        results, rows=rows.assign(value=rows["value"].mask(run & (rows["step"] >= since), rows["value"] + by))
    )


def remade(results, **environment):
    """The same results, made by something else."""
    cells = tuple({**cell, "environment": {**cell["environment"], **environment}} for cell in results.cells)
    return replace(results, cells=cells)


def table(folder):
    return pd.read_csv(folder / "contrast.csv", keep_default_na=False).set_index("label")


def test_identical_results_are_said_to_be_identical(tmp_path):
    results = synthetic.results()
    path = write(results, results, tmp_path / "contrast.html")
    words = words_of(path)
    assert re.search(r"675 .*identical", words)
    assert re.search(r"final values.* identical", words)
    assert "No verdict changed." in words
    assert "provenance is identical" in words
    assert not (tmp_path / "making.csv").exists()
    assert (table(tmp_path)["largest"] == 0).all()
    assert not Page(path.read_text()).open


def test_a_planted_difference_is_found(tmp_path):
    a = synthetic.results()
    words = words_of(write(a, shifted(a, "relu", 3, -0.25, since=2000), tmp_path / "contrast.html"))
    assert re.search(r"\b2 of.* 675|675 .*\b2 differ", words)  # training and validation
    assert "The largest difference of a run is −0.250, of relu, seed 3." in words
    assert "relu from worse to inconclusive" in words
    found = table(tmp_path)
    assert found.loc["relu", "difference"] == pytest.approx(-0.05)
    assert found.loc["relu", "largest_seed"] == 3
    assert found.loc["relu", "low"] < -0.05 < found.loc["relu", "high"]
    assert (found["largest"] != 0).sum() == 1
    assert (found.loc["relu", "verdict_a"], found.loc["relu", "verdict_b"]) == ("worse", "inconclusive")


def test_what_made_them_is_told_where_it_differs(tmp_path):
    a = synthetic.results()
    b = remade(a, device="gpu", versions={"jax": "0.11.0", "flax": "0.12.8"})
    b = replace(
        b, experiment={**a.experiment, "definition": {"model": {"norm": "rms"}}}, timing=a.timing.assign(seconds=1)
    )
    words = words_of(write(a, b, tmp_path / "contrast.html"))
    assert "versions, device, definition" in words
    made = pd.read_csv(tmp_path / "making.csv").set_index("field")
    assert made.loc["versions.jax"].to_list() == ["0.10.2", "0.11.0"]
    assert made.loc["definition.model.norm"].to_list() == ["not recorded", "rms"]
    assert len(made) == 3


def test_time_is_that_of_b_over_that_of_a(tmp_path):
    a = synthetic.results()
    b = replace(a, timing=a.timing.assign(seconds=2.5 * a.timing["seconds"]))
    assert "Training in B took ×2.50 to ×2.50 the time of A." in words_of(write(a, b, tmp_path / "contrast.html"))


def test_each_arm_is_compared_where_both_have_arrived_and_the_rest_is_told(tmp_path):
    a = synthetic.results(synthetic.diverge(synthetic.rows(), "silu", seed=3, step=1500))
    late = a.rows[~((a.rows["activation"] == "gelu") & (a.rows["step"] > 750))]
    b = replace(a, rows=late[~((late["activation"] == "relu") & (late["seed"] == 4))])
    words = words_of(write(a, b, tmp_path / "contrast.html"))
    assert "relu, seed 4: only in A" in words
    assert "silu, seed 3: diverged in A and B" in words
    found = table(tmp_path)
    assert found["step"].to_dict() == {"gelu": 750, "relu": 2000, "swiglu": 2000, "silu": 2000, "geglu": 2000}
    assert found["n"].to_dict() == {"gelu": 5, "relu": 4, "swiglu": 5, "silu": 4, "geglu": 5}


def test_arms_are_told_apart_by_their_axes(tmp_path):
    a = synthetic.results(synthetic.rows(["gelu", "relu"], axes={"norm": ["rms", None]}, learning_rates=(1e-3, 1e-2)))
    write(a, a, tmp_path / "contrast.html")
    assert len(table(tmp_path)) == 8
    assert set(table(tmp_path)["verdict_a"]) <= {"baseline", "worse", "better", "inconclusive"}


def test_without_a_baseline_there_are_no_verdicts(tmp_path):
    a = synthetic.results(synthetic.rows(["relu", "silu"]))
    assert "No verdict changed" in words_of(write(a, a, tmp_path / "contrast.html"))
    assert set(table(tmp_path)["verdict_a"]) == {""}


def test_results_that_do_not_belong_together_are_refused(tmp_path):
    a = synthetic.results()
    other = replace(a, experiment={**a.experiment, "name": "other"})
    with refused("synthetic", "other"):
        write(a, other, tmp_path / "contrast.html")
    with pytest.raises(ValueError, match="no activation, setting and seed in common"):
        write(a, synthetic.results(synthetic.rows(seeds=[7])), tmp_path / "contrast.html")
    with pytest.raises(ValueError, match=r"varies norm, but .* does not"):
        write(a, synthetic.results(synthetic.rows(axes={"norm": ["rms"]})), tmp_path / "contrast.html")
    with pytest.raises(ValueError, match="validation loss was not measured"):
        write(a, replace(a, rows=a.rows[a.rows["split"] == "train"]), tmp_path / "contrast.html")
    assert not list(tmp_path.iterdir())
