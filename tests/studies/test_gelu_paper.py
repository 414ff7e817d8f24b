"""The GELU paper's figures: the published curves are read right, figures are made from rows as training leaves them."""

import itertools

import jax
import numpy as np
import pandas as pd
import pytest
from refusals import assert_names, refused

import ablations
from experiments import gelu_paper
from experiments.gelu_paper import autoencoder, definitions, mnist, robustness, tweets
from experiments.gelu_paper.paper import curves, epochs, tuned
from lab.experiment.experiment import grid
from lab.results.excerpts import Excerpt, of_results, read

MADE = {"command": "ablations study gelu_paper", "seconds": 60, "environments": [{"commit": "abc", "device": "cpu"}]}


def made_up(experiment, epoch, last, metric="loss", level=lambda **run: 1.0):
    """Rows as training leaves them, with losses level / (1 + epoch) for each run."""
    records = []
    for cell in grid(experiment):
        for run, step in itertools.product(cell.runs, range(0, last * epoch + 1, epoch)):
            about = {"activation": cell.activation.name, **dict(cell.axes), "seed": run.seed}
            about["learning_rate"] = run.hyperparameters.learning_rate
            value = level(**about) / (1 + step / epoch) * (1 + 0.01 * run.seed)
            splits = ["validation", *(["train"] if step else []), *(["test"] if step == last * epoch else [])]
            records += [{**about, "step": step, "split": split, "metric": metric, "value": value} for split in splits]
    return Excerpt(pd.DataFrame(records), MADE)


def of_mnist(**about):
    return {"gelu_tanh": 1.0, "relu": 1.2, "elu": 1.5}[about["activation"]] * (1 + abs(about["learning_rate"] - 1e-4))


@pytest.mark.parametrize(
    ("panel", "activation", "split", "epoch", "value"),  # read off the figures, independently of the digitised file
    [
        (("mnist_classification", "keep_probability=1.0"), "gelu", "train", 20, 0.0157),
        (("mnist_classification", "keep_probability=1.0"), "elu", "validation", 30, 0.1022),
        (("mnist_classification", "keep_probability=0.5"), "relu", "validation", 50, 0.384),
        (("mnist_autoencoder", "learning_rate=1e-3"), "relu", "validation", 100, 0.00952),
        (("mnist_autoencoder", "learning_rate=1e-5"), "elu", "train", 100, 0.01074),
        (("timit", ""), "gelu", "validation", 15, 1.479),
        (("cifar10", ""), "relu", "validation", 150, 8.71),
        (("cifar100", ""), "gelu", "train", 40, 1.23),
    ],
)
def test_the_published_curves_are_those_of_the_figures(panel, activation, split, epoch, value):
    chosen = curves(*panel).query(f"activation == '{activation}' and split == '{split}'").sort_values("epoch")
    assert np.interp(epoch, chosen["epoch"], chosen["value"]) == pytest.approx(value, rel=0.05)


def test_an_unknown_panel_is_refused():
    with refused("mnist", "condition"):
        curves("mnist")


def test_a_training_loss_stands_in_the_middle_of_its_epoch():
    rows = made_up(mnist.Mnist().experiments("smoke")[0], mnist.EPOCH, 2).rows.query("seed == 0 and dropout == 0")
    found = epochs(rows[rows["learning_rate"] == 1e-3], mnist.EPOCH)
    gelu = found[found["activation"] == "gelu"]
    assert gelu.loc[gelu["split"] == "train", "epoch"].tolist() == [0.5, 1.5]
    assert gelu.loc[gelu["split"] == "validation", "epoch"].tolist() == [0, 1, 2]


def test_the_learning_rate_is_tuned_on_the_median_of_validation_by_its_last_or_its_best_epoch():
    records = [
        {"activation": "gelu", "learning_rate": rate, "seed": seed, "step": step, "split": split, "metric": "loss"}
        | {"value": value + (100 if split == "train" and rate == 1e-3 else 0) + (50 if seed == 2 else 0)}
        for rate, losses in ((1e-3, (1.0, 3.0)), (1e-4, (2.0, 2.0)))
        for step, value in enumerate(losses, start=1)
        for seed, split in itertools.product(range(3), ("train", "validation"))
    ]
    rows = pd.DataFrame(records)
    assert set(tuned(rows, "last")["learning_rate"]) == {1e-4}
    assert set(tuned(rows, "best")["learning_rate"]) == {1e-3}


def test_every_budget_of_every_figure_is_a_grid():
    for budget in ("smoke", "short", "full"):
        for experiment in (
            e
            for name in ("mnist", "autoencoder", "tweets")
            for e in getattr(gelu_paper.study, name).experiments(budget)
        ):
            experiment.check()
    full = mnist.Mnist().experiments("full")[0]
    assert {len(cell.runs) for cell in grid(full)} == {15}  # all learning rates and seeds are one program
    assert full.settings.steps == 50 * 430
    longer = autoencoder.Autoencoder(duration="code").experiments("full")[0]
    assert longer.settings.steps == 2 * autoencoder.Autoencoder().experiments("full")[0].settings.steps


def test_mnist_compares_at_the_published_epochs_and_reads_the_curves():
    rows = made_up(mnist.Mnist().experiments("short")[0], mnist.EPOCH, 20, level=of_mnist)
    found = mnist.Mnist().reproduction({mnist.NAME: rows})
    assert set(found.table["epoch"]) == {2, 5, 10, 20}
    assert set(found.table["n"]) == {5}
    assert list(dict.fromkeys(found.table["panel"])) == [
        "keep 1, tuned",
        "keep 1, 0.001 for all",
        "keep 0.5, tuned",
        "keep 0.5, 0.001 for all",
    ]
    assert found.notes[0].startswith("keep 1, tuned: learning rates gelu_tanh 0.0001")
    outcomes = [verdict.outcome for verdict in found.verdicts[4:]]
    assert outcomes == 2 * ["yes", "yes", "yes", "yes", "no, higher", "no, higher"]


def test_one_run_of_the_autoencoder_has_no_verdict_and_its_validation_is_the_test_split():
    rows = made_up(autoencoder.Autoencoder().experiments("short")[0], autoencoder.EPOCH, 25, level=of_mnist)
    found = autoencoder.Autoencoder().reproduction({autoencoder.NAME: rows})
    assert {verdict.outcome for verdict in found.verdicts} == {"no verdict"}
    assert set(found.table["split"]) == {"train", "test"}
    assert set(found.table["panel"]) == {"learning rate 0.001", "learning rate 0.0001"}


def test_the_tweets_are_paired_over_seeds_beside_the_papers_errors():
    level = {"gelu_tanh": 0.2, "relu": 0.21, "elu": 0.19}

    def of_run(**run):
        return level[run["activation"]]

    asked = tweets.Tweets().experiments("short")
    excerpts = {one.name: made_up(one, tweets.EPOCH, 3, "token_error", of_run) for one in asked}
    found = tweets.Tweets().reproduction(excerpts)
    assert [verdict.outcome for verdict in found.verdicts] == ["yes", "no, higher", "inconclusive"]
    published = found.table.set_index(["keep", "activation"])["published"]
    assert published.to_dict() == {(0.8, "gelu"): 12.57, (0.8, "relu"): 12.67, (0.8, "elu"): 12.91, (1.0, "relu"): 11.9}


def test_the_definitions_have_their_extrema():
    found = definitions.Definitions().reproduction({})
    assert [verdict.outcome for verdict in found.verdicts] == ["reproduced"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A results directory of two small classifiers of made-up images."""
    from dataclasses import replace

    from lab.data.dataset import Dataset
    from models.mlp import MLP

    draw = np.random.default_rng(0)
    label = draw.integers(0, 10, 512).astype(np.int32)
    image = (
        255 * np.eye(16, dtype=np.uint8)[label].reshape(-1, 4, 4, 1) // 2 + draw.integers(0, 80, (512, 4, 4, 1))
    ).astype(np.uint8)
    arrays = {split: {"image": image, "label": label} for split in ("train", "validation", "test")}
    full = mnist.Mnist().experiments("smoke")[0]
    small = replace(
        full,
        model=MLP(input_shape=(4, 4, 1), widths=(16,)),
        activations=("gelu_tanh", "relu"),
        axes=(("model.dropout", (0.0,)),),
        learning_rates=(1e-2,),
        settings=replace(full.settings, steps=40, evaluate_every=20, batch_size=32),
    )
    folder = tmp_path_factory.mktemp("networks")
    dataset = Dataset(arrays, {"name": "made_up", "splits": {}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.runner.dispatch.load", lambda task: dataset)
        yield small, folder, ablations.run(small, folder, quiet=True)


@pytest.mark.slow
def test_without_noise_networks_are_as_good_as_training_recorded(networks):
    experiment, folder, results = networks
    rows = ablations.evaluate(experiment, robustness.under_noise, folder, robustness.without_dropout)
    recorded = results.rows.query("split == 'test' and dropout == 0")
    both = rows[rows["noise"] == 0].merge(recorded, on=["activation", "seed", "metric"])
    assert len(both) == 2 * 2 * 2
    np.testing.assert_allclose(both["value_x"], both["value_y"], rtol=1e-5)


@pytest.mark.slow
def test_noise_makes_them_worse_and_is_the_same_for_all_networks_of_a_seed(networks):
    experiment, folder, _ = networks
    rows = ablations.evaluate(experiment, robustness.under_noise, folder, robustness.without_dropout)
    accuracy = rows[rows["metric"] == "accuracy"].groupby("noise")["value"].mean()
    assert accuracy[3.0] < accuracy[0.0] - 0.2
    images = np.zeros((50, 4, 4, 1), np.float32)
    noise = robustness.noised(images, 2.0, 1)
    assert float(abs(noise).max()) <= 2.0
    assert float(np.asarray(noise).std()) == pytest.approx(2 / 3**0.5, rel=0.05)
    np.testing.assert_allclose(noise, 2 * robustness.noised(images, 1.0, 1), rtol=1e-6)


@pytest.mark.parametrize(("shift", "outcome"), [(-0.2, "yes"), (0.2, "no"), (0.0, "inconclusive")])
def test_the_claim_of_robustness_is_judged_at_every_strength(shift, outcome):
    draw = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"activation": name, "seed": seed, "noise": noise, "metric": "loss"}
        | {"value": 1 + draw.normal(0, 0.01) + (shift if name == "gelu" and noise == 2.0 else 0)}
        for name, seed, noise in itertools.product(("gelu", "relu"), range(5), robustness.STRENGTHS)
    )
    found = robustness.matching(rows, "loss", "relu")
    assert found.outcome == outcome
    assert found.reason.startswith("of 12 strengths")


def test_the_figure_of_robustness_is_of_the_networks_without_dropout(networks):
    experiment, folder, results = networks
    rows = ablations.evaluate(experiment, robustness.under_noise, folder, robustness.without_dropout)
    extra = rows[rows["activation"] == "relu"].assign(activation="elu")  # the figure compares with it
    curves = of_results(results)
    elu = curves.rows[curves.rows["activation"] == "relu"].assign(activation="elu")
    excerpts = {
        mnist.NAME: Excerpt(pd.concat([curves.rows, elu]), MADE),
        robustness.NAME: Excerpt(pd.concat([rows, extra]), MADE),
    }
    found = robustness.Robustness().reproduction(excerpts)
    assert set(found.table["noise"]) == set(robustness.AT)
    assert set(found.table["activation"]) == {"gelu", "relu", "elu"}
    assert len(found.verdicts) == 4


def test_networks_that_are_not_trained_are_refused(networks, tmp_path):
    experiment, _, _ = networks
    with refused("seed", "0"):
        ablations.evaluate(experiment, robustness.under_noise, tmp_path)


def test_an_excerpt_comes_back_small(networks, tmp_path):
    results = networks[2]
    of_results(results).write(tmp_path, "one")
    back = read(tmp_path)["one"]
    assert set(back.rows["metric"]) == {"loss", "accuracy"}
    assert back.made["environments"][0]["device"] == jax.devices()[0].device_kind
    merged = back.rows.merge(results.rows, on=["activation", "dropout", "seed", "step", "split", "metric"])
    np.testing.assert_allclose(merged["value_x"], merged["value_y"], rtol=1e-6)


@pytest.mark.slow
def test_a_figure_is_made_by_one_command_into_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ablations.main(["figures", "gelu_paper", "--only", "definitions", "--out", "page"]) == 0
    assert capsys.readouterr().out == "page: page/index.html\n"
    files = {path.name for path in (tmp_path / "page").iterdir()}
    assert files == {"index.html", *(f"definitions.{kind}" for kind in ("svg", "csv", "tex"))}
    assert "reproduced" in (tmp_path / "page" / "index.html").read_text()


@pytest.mark.slow
def test_a_figure_without_data_is_left_out_with_a_sentence(tmp_path, monkeypatch):
    def missing(task):
        raise FileNotFoundError("mnist is not on this machine")

    monkeypatch.setattr("lab.runner.dispatch.load", missing)
    page = ablations.figures("gelu_paper", "smoke", ("mnist",), tmp_path, quiet=True)
    assert "mnist: mnist is not on this machine" in page.read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ("ablations figures", "study", "ablations list")),
        ("gelu_papre", ("study", "'gelu_papre'", "'gelu_paper'")),
        ("gelu_paper --budget shrt", ("--budget", "'shrt'", "smoke", "full", "'short'")),
        ("gelu_paper --only mnits", ("--only", "'mnits'", "definitions", "'mnist'")),
        ("gelu_paper --mnist.tuned-by end", ("--mnist.tuned-by", "'end'", "last", "best")),
        ("gelu_paper --mnist.tune last", ("--mnist.tune", "'--mnist.tuned-by'")),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys, line, words):
    monkeypatch.chdir(tmp_path)
    assert ablations.main(["figures", *line.split()]) == 2
    assert_names(capsys.readouterr().err, *words)
    assert not any(tmp_path.iterdir())
