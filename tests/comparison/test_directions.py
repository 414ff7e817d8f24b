"""Which way a metric is better is declared: a wrong guess would turn a verdict upside down."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import synthetic
from bigram import Bigram

import ablations
from lab.comparison import tuning
from lab.comparison.comparison import compare
from lab.experiment.experiment import Tuning
from lab.results.directions import declared, split_metric
from lab.tasks.language import CausalLanguage


@dataclass(frozen=True)
class Ranked(CausalLanguage):
    """A task of one's own whose metric is better the larger it is."""

    def summary(self, means):
        """The means with `auc`."""
        return {**super().summary(means), "auc": 1 / means["loss"]}


@dataclass(frozen=True)
class Declared(Ranked):
    """The same, which says so."""

    directions = {"auc": "max"}  # noqa: RUF012  (as a user writes it)


def named(metric):
    table = synthetic.rows()
    return table.assign(metric=table["metric"].replace("loss", metric))


@pytest.mark.parametrize("metric", ["auc", "mAP", "recall", "r2", "top5_accuracy", "word_error_score"])
def test_a_metric_that_nobody_declared_has_no_verdict_and_a_sentence(metric):
    found = compare(named(metric), "gelu", metric=metric)
    assert {arm.verdict for arm in found.arms} == {"no verdict"}
    assert any(f"{metric}:max" in sentence for sentence in found.cautions)
    assert found.to_dict()["direction"] is None
    assert np.isfinite([arm.difference for arm in found.arms]).all()


def test_a_direction_that_is_asked_for_decides():
    verdicts = {
        way: {arm.activation: arm.verdict for arm in compare(named("auc"), "gelu", metric=f"auc:{way}").arms}
        for way in ("min", "max")
    }
    assert (verdicts["min"]["relu"], verdicts["max"]["relu"]) == ("worse", "better")
    assert (verdicts["min"]["swiglu"], verdicts["max"]["swiglu"]) == ("better", "worse")


def test_a_recorded_direction_decides_and_a_contradiction_is_refused():
    results = synthetic.results(named("auc"))
    results.experiment.update(metric="auc", directions={"auc": "max"})
    assert {arm.activation: arm.verdict for arm in compare(results).arms}["relu"] == "better"
    with pytest.raises(ValueError, match=r"auc:min.*max"):
        compare(results, metric="auc:min")
    with pytest.raises(ValueError, match=r"loss:max.*min"):
        compare(synthetic.rows(), "gelu", metric="loss:max")
    with pytest.raises(ValueError, match=r"upward.*max"):
        split_metric("auc:upward")


def test_every_task_minimizes_its_loss():
    assert declared(Declared()) == {"loss": "min", "auc": "max"}
    assert declared(CausalLanguage()) == {"loss": "min", "perplexity": "min", "bits_per_byte": "min"}
    assert declared(object()) == {"loss": "min"}


@pytest.mark.parametrize(("task", "metric"), [(Declared, "auc"), (Ranked, "auc:max")])
def test_a_task_of_ones_own_is_compared_by_what_it_or_the_experiment_declares(experiment, tmp_path, task, metric):
    own = task(**{name: getattr(experiment.task, name) for name in ("data", "context", "evaluation_windows")})
    asked = replace(experiment, task=own, model=Bigram(), activations=("gelu", "relu"), metric=metric)
    found = ablations.run(asked, tmp_path / "out", quiet=True)
    assert (found.experiment["metric"], found.experiment["directions"]["auc"]) == ("auc", "max")
    assert ablations.compare(tmp_path / "out").direction == "max"
    loss, auc = (compare(found, metric=name).arms[0].difference for name in ("loss", "auc"))
    assert loss * auc < 0


def test_rates_are_chosen_by_the_declared_direction_and_by_none_without():
    rows = named("auc")
    searched = synthetic.results(rows.assign(learning_rate=1e-3))
    searched.experiment.update(metric="auc", directions={"auc": "max"})
    assert tuning.tuned(searched)["chosen"].all()
    searched.experiment.update(directions={})
    with pytest.raises(ValueError, match="auc"):
        tuning.tuned(searched)


def test_an_experiment_that_tunes_needs_a_direction(experiment):
    own = Ranked(data=experiment.task.data, context=8, evaluation_windows=8)
    arms, grid_of_rates = ("gelu", "relu"), Tuning((1e-3, 1e-2))
    asked = replace(experiment, task=own, model=Bigram(), activations=arms, metric="auc", tuning=grid_of_rates)
    with pytest.raises(ValueError, match="auc:max"):
        asked.check(lambda task: task.load())
