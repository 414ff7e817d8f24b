"""What a network must beat: known of any form of a set, computed once for each content, never at a run's cost."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from lab.data import catalogue
from lab.data.corpora import corpus as read
from lab.data.dataset import Dataset
from lab.data.reference_predictors import text_baselines
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
        bits = text_baselines(read(corpus), split)
        expected = {name: {"metric": "bits_per_byte", "split": split, "value": value} for name, value in bits.items()}
        assert catalogue.to_beat(dataset, split, tmp_path) == expected


def test_of_tags_the_error_is_measured(tagged, tmp_path):
    assert catalogue.scores(tagged, data_dir=tmp_path)["most_frequent"] == 0.75
    assert catalogue.to_beat(tagged, "validation", tmp_path)["most_frequent"] == {
        "metric": "token_error", "split": "validation", "value": 0.25,
    }  # fmt: skip


def test_a_content_is_scored_once(tagged, tmp_path, monkeypatch):
    first = catalogue.to_beat(tagged, "validation", tmp_path)
    monkeypatch.setitem(catalogue.BASELINES, "tags", None)
    monkeypatch.setattr(catalogue, "MAX_SCORED_BYTES", 10)
    assert catalogue.to_beat(tagged, "validation", tmp_path) == first


def test_a_large_set_does_not_keep_a_run_waiting(tagged, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "MAX_SCORED_BYTES", 63)
    with pytest.raises(ValueError, match="tweet_pos has 64 bytes, more than 63: ablations data check tweet_pos makes"):
        catalogue.to_beat(tagged, "validation", tmp_path)


@pytest.mark.parametrize("provenance", [{}, {"name": "mine", "splits": {}}, {"name": "spoken_digit", "splits": {}}])
def test_other_data_has_nothing_to_beat(provenance, tmp_path):
    assert catalogue.to_beat(Dataset({}, provenance), "validation", tmp_path) == {}


def test_results_keep_what_their_network_must_beat(experiment, tmp_path):
    baselines = session.baselines_of(experiment, catalogue.to_beat, Console(file=io.StringIO()))
    assert set(baselines) == {experiment.task.name}
    plan.prepare(experiment, tmp_path / "out", "", baselines)
    plan.prepare(experiment, tmp_path / "out", "")
    recorded = json.loads((tmp_path / "out" / "experiment.json").read_text())["baselines"]
    assert recorded == baselines
    assert set(recorded[experiment.task.name]) == {"unigram", "bigram", "gzip", "xz"}


def test_a_run_does_without_baselines_that_cannot_be_kept(experiment, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(catalogue.kept, "values", full)
    console = Console(file=io.StringIO())
    assert session.baselines_of(experiment, catalogue.to_beat, console) == {}
    assert "no baselines (No space left on device)" in " ".join(console.file.getvalue().split())
