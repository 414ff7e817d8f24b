"""Reference predictors: known of any form of a set, computed once for each content, never at a run's cost."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from lab.data import catalogue
from lab.data.dataset import Dataset
from lab.data.reference_predictors import text_predictors
from lab.data.text.corpora import corpus as read
from lab.results.record import read_record
from lab.runner import plan, session
from lab.tasks.language import CausalLanguage


@pytest.fixture
def tagged(monkeypatch):
    """A set of tags that is called tweet_pos."""
    fields = {"word": np.array([1, 1, 2, 2], np.int32), "tag": np.array([0, 0, 1, 0], np.int32)}
    dataset = Dataset(dict.fromkeys(("train", "validation"), fields), {"name": "tweet_pos", "splits": {"train": 4}})
    monkeypatch.setattr(catalogue, "load", lambda name, data_dir: dataset)
    return dataset


@pytest.mark.parametrize("tokens", [{}, {"tokenizer": "bpe", "vocabulary": 260}])
def test_tokens_do_not_change_what_the_text_is_measured_by(corpus, tmp_path, tokens):
    dataset = CausalLanguage(corpus, 8, **tokens).load(tmp_path)
    for split in ("validation", "test"):
        bits = text_predictors(read(corpus), split)
        expected = {name: {"metric": "bits_per_byte", "split": split, "value": value} for name, value in bits.items()}
        assert catalogue.reference_predictors(dataset, split, tmp_path) == expected


def test_of_tags_the_error_is_measured(tagged, tmp_path):
    assert catalogue.scores(tagged, data_dir=tmp_path)["most_frequent"] == 0.75
    assert catalogue.reference_predictors(tagged, "validation", tmp_path)["most_frequent"] == {
        "metric": "token_error", "split": "validation", "value": 0.25,
    }  # fmt: skip


def test_a_content_is_scored_once(tagged, tmp_path, monkeypatch):
    first = catalogue.reference_predictors(tagged, "validation", tmp_path)
    monkeypatch.setitem(catalogue.PREDICTORS, "tags", None)
    monkeypatch.setattr(catalogue, "MAX_SCORED_BYTES", 10)
    assert catalogue.reference_predictors(tagged, "validation", tmp_path) == first


def test_a_large_set_does_not_keep_a_run_waiting(tagged, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_SCORED_BYTES", 63)
    with pytest.raises(ValueError, match="tweet_pos has 64 bytes, more than 63"):
        catalogue.reference_predictors(tagged, "validation", tmp_path)


@pytest.mark.parametrize("provenance", [{}, {"name": "mine", "splits": {}}, {"name": "spoken_digit", "splits": {}}])
def test_other_data_has_nothing_reference_predictors(provenance, tmp_path):
    assert catalogue.reference_predictors(Dataset({}, provenance), "validation", tmp_path) == {}


def test_results_keep_their_reference_predictors(experiment, tmp_path):
    predictors = session.predictors_of(experiment, catalogue.reference_predictors, Console(file=io.StringIO()))
    assert set(predictors) == {experiment.task.name}
    plan.prepare(experiment, tmp_path / "out", "", predictors)
    plan.prepare(experiment, tmp_path / "out", "")
    recorded = json.loads((tmp_path / "out" / "experiment.json").read_text())["reference_predictors"]
    assert recorded == predictors
    assert set(recorded[experiment.task.name]) == {"unigram", "bigram", "gzip", "xz"}


SCORES = {"task": {"xz": {"metric": "bits_per_byte", "split": "validation", "value": 1.5}}}


def test_results_of_before_keep_theirs_under_the_name_of_today(experiment, tmp_path):
    plan.prepare(experiment, tmp_path / "out", "", SCORES)
    path = tmp_path / "out" / "experiment.json"
    path.write_text(path.read_text().replace('"reference_predictors"', '"baselines"'))
    assert read_record(tmp_path / "out")["reference_predictors"] == SCORES
    plan.prepare(experiment, tmp_path / "out", "")
    written = json.loads(path.read_text())
    assert written["reference_predictors"] == SCORES
    assert "baselines" not in written


def test_a_run_does_without_predictors_that_cannot_be_kept(experiment, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(catalogue.kept, "values", full)
    console = Console(file=io.StringIO())
    assert session.predictors_of(experiment, catalogue.reference_predictors, console) == {}
    assert "no reference predictors (No space left on device)" in " ".join(console.file.getvalue().split())
