"""Table, figures and report say what the comparison found, in files that need nothing else."""

import io
import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import synthetic
from markup import Page, words_of
from rich.console import Console

from lab.comparison.comparison import compare
from lab.comparison.reference_predictors import beside, best, levels
from lab.report.figures import HUES, colour, curves, differences, svg
from lab.report.learning_curves import FIGURES
from lab.report.report import write
from lab.report.table import MOST, compact, number, ranked, terminal


@pytest.fixture
def diverged():
    return synthetic.results(synthetic.diverge(synthetic.rows(), "silu", seed=3, step=1500))


@pytest.fixture
def beatable():
    """Results with a baseline that gelu beats, one that it does not, and one far from the curves."""
    results = synthetic.results()
    bits = {"unigram": 3.0, "xz": 1.5, "random": 8.0}
    scores = {name: {"metric": "bits_per_byte", "split": "validation", "value": value} for name, value in bits.items()}
    results.experiment["reference_predictors"] = {"tiny_text": scores}
    return results


def rendered(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_ranking_has_costs_means_and_verdicts_best_first():
    results = synthetic.results()
    comparison = compare(results)
    table = ranked(results, comparison)
    assert table["mean"].is_monotonic_increasing
    assert list(table["arm"]) == ["geglu", "swiglu", "silu", "gelu", "relu"]
    row = table.set_index("arm").loc["swiglu"]
    assert row["parameters"] == 817_152
    assert row["seconds"] == pytest.approx(synthetic.seconds("swiglu"))
    assert row["relative_time"] == pytest.approx(1.1)
    assert row["verdict"] == "better"
    assert table.set_index("arm").loc["gelu", "verdict"] == "baseline"
    arms = {arm.label: arm for arm in comparison.arms}
    assert row["difference"] == arms["swiglu"].difference


def test_ranking_of_an_accuracy_is_highest_first():
    results = synthetic.results()
    results.rows["metric"] = results.rows["metric"].replace("loss", "accuracy")
    table = ranked(results, compare(results, metric="accuracy"))
    assert table["mean"].is_monotonic_decreasing
    results.rows["metric"] = results.rows["metric"].replace("accuracy", "auc")
    found = compare(results, metric="auc")
    assert {arm.verdict for arm in found.arms} == {"no verdict"}
    assert "better)" not in svg(differences(found), "")
    assert "right is better" in svg(differences(compare(results, metric="auc:max")), "")


def test_time_counts_training_alone_whatever_the_waves():
    results = synthetic.results()
    halves = [results.timing.assign(runs=runs, seconds=results.timing["seconds"] * runs / 5) for runs in (2, 3)]
    in_waves = pd.concat([half.assign(tokens=half["tokens"] * half["runs"] / 5) for half in halves])
    table = ranked(replace(results, timing=in_waves), compare(results)).set_index("arm")
    assert table.loc["gelu", "seconds"] == pytest.approx(synthetic.seconds("gelu"))
    assert ranked(replace(results, timing=pd.DataFrame()), compare(results))["seconds"].isna().all()


@pytest.mark.parametrize("width", [80, 100])
def test_terminal_table_keeps_every_number_on_its_line(diverged, width):
    comparison = compare(diverged)
    text = rendered(terminal(ranked(diverged, comparison), comparison), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.split()}
    assert lines["swiglu"][1:] == [
        "817k", "1.64M", "×1.10", "1.3906", "5", "−0.0186", "±0.0060", "better", "0.0198"
    ]  # fmt: skip
    assert lines["silu"][5:7] == ["4", "(1†)"]
    assert "inconclusive" in " ".join(lines["silu"])


def test_long_labels_fold_and_leave_the_numbers_whole():
    results = synthetic.results(synthetic.rows(["gelu", "relu"], axes={"normalization": ["rms", "layer"]}))
    comparison = compare(results)
    assert "…" not in rendered(terminal(ranked(results, comparison), comparison), 80)


def test_numbers_are_short_and_signed():
    assert [compact(n) for n in (0, 12, 999_600, 817_152, 1.638e6, 124e6, 7.1e9)] == [
        "0", "12", "1.00M", "817k", "1.64M", "124M", "7.10G",
    ]  # fmt: skip
    assert compact(None) == ""
    assert [number(x, 2, sign=True) for x in (-0.123, 0.5, np.inf, -np.inf)] == ["−0.12", "+0.50", "+∞", "−∞"]
    assert number(np.nan, 2) == ""
    assert [number(x, 3) for x in (999_999.5, 8_113_043.0, -2e8)] == ["999999.500", "8.11e+06", "−2e+08"]


def test_an_activation_has_one_colour_and_a_gated_one_that_of_its_gate():
    assert colour("swiglu") == colour("silu") == colour("silu_glu")
    assert colour("gelu") != colour("relu")
    assert colour("my_own") == colour("my_own")
    assert colour("my_own") in HUES.values()


def test_figures_are_small_well_formed_and_the_same_each_time(diverged):
    for figure in (curves(diverged.rows), differences(compare(diverged))):
        text = svg(figure, 'a "title" & more')
        root = ElementTree.fromstring(text)
        assert root.attrib["aria-label"] == 'a "title" & more'
        assert root[0].text == 'a "title" & more'
        assert text == svg(figure, 'a "title" & more')  # drawing it once more moves nothing
        assert len(text) < 60_000
        assert "#010203" not in text


def test_a_long_figure_of_many_arms_stays_below_100_kB(monkeypatch):
    monkeypatch.setattr(synthetic, "STEPS", tuple(range(0, 5001, 50)))
    rows = synthetic.rows([*synthetic.OFFSETS, "mish", "elu", "reglu"], seeds=range(2))
    rows["value"] += np.random.default_rng(0).normal(0, 0.003, len(rows))
    assert len(svg(curves(rows), "curves")) < 100_000


def test_curves_are_seed_means_until_divergence(diverged):
    rows = diverged.rows
    after = (rows["activation"] == "silu") & (rows["seed"] == 3) & (rows["step"] > 1500)
    whole, end = curves(rows.assign(value=rows["value"].mask(after, 9.0))).axes[:2]  # finite again is not well again
    lines = {line.get_label(): line for line in end.get_lines()}
    assert list(lines)[:2] == ["geglu", "swiglu"]  # the order of the last values
    measured = diverged.rows.query("metric == 'loss' and split == 'validation' and activation == 'silu'")
    expected = measured[(measured["step"] == 2000) & (measured["seed"] != 3)]["value"].mean()
    np.testing.assert_allclose(lines["silu"].get_ydata()[-1], expected)
    crosses = [line for line in whole.get_lines() if line.get_marker() == "x" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in crosses] == [[1250]]
    assert whole.get_ylabel() == "validation loss (nats)"
    assert end.child_axes[0].get_ylabel() == "bits per byte"


def test_curves_without_bits_name_no_unit():
    rows = synthetic.rows(["gelu", "relu"]).query("metric != 'bits_per_byte'")
    figure = curves(rows)
    assert figure.axes[0].get_ylabel() == "validation loss"
    assert not figure.axes[1].child_axes


def test_predictors_are_beside_what_the_activation_reached(beatable):
    table = beside(beatable, "gelu")
    assert list(table["predictor"]) == ["xz", "unigram", "random"]
    assert list(table["beaten"]) == [False, True, True]
    gelu = beatable.rows.query("activation == 'gelu' and step == 2000 and metric == 'bits_per_byte'")["value"]
    assert list(table["reached"]) == pytest.approx([gelu.mean()] * 3)
    assert best(table, "gelu") == [
        "tiny_text: best reference predictor xz, validation bits per byte 1.5; "
        f"gelu ({gelu.mean():.4g}) does not beat it"
    ]


def test_of_an_accuracy_the_highest_predictor_is_the_hardest(beatable):
    beatable.rows["metric"] = beatable.rows["metric"].replace("bits_per_byte", "accuracy")
    for score in beatable.experiment["reference_predictors"]["tiny_text"].values():
        score["metric"] = "accuracy"
    table = beside(beatable, "gelu")
    assert list(table["predictor"]) == ["random", "unigram", "xz"]
    assert list(table["beaten"]) == [False, False, True]


def test_a_diverged_activation_beats_nothing_but_its_other_settings_count(beatable):
    one = replace(beatable, rows=synthetic.diverge(beatable.rows, "gelu", seed=3, step=1500))
    assert beside(one, "gelu")["reached"].isna().all()
    assert not beside(one, "gelu")["beaten"].any()
    assert "gelu (not measured) does not beat it" in best(beside(one, "gelu"), "gelu")[0]
    rates = synthetic.rows(["gelu"], learning_rates=(1e-3, 1e-2))
    spoilt = rates["value"].mask((rates["learning_rate"] == 1e-3) & (rates["step"] > 1000))
    two = beside(replace(beatable, rows=rates.assign(value=spoilt)), "gelu")
    expected = rates.query("learning_rate == 1e-2 and step == 2000 and metric == 'bits_per_byte'")["value"].mean()
    assert list(two["reached"]) == pytest.approx([expected] * 3)


def test_without_reference_predictors_there_is_no_such_part(beatable, tmp_path):
    results = synthetic.results()
    assert beside(results, "gelu").empty
    assert best(beside(results, "gelu"), "gelu") == []
    assert "Reference predictors" not in words_of(write(results, tmp_path / "report.html"))
    unmeasured = beatable.rows.query("metric != 'bits_per_byte'")
    assert beside(replace(beatable, rows=unmeasured), "gelu").empty


@pytest.mark.parametrize("bytes_per_token", [1, 3.5])
def test_bits_per_byte_are_drawn_in_nats_a_token(beatable, bytes_per_token):
    rows = beatable.rows
    rows.loc[rows["metric"] == "bits_per_byte", "value"] /= bytes_per_token
    assert levels(beatable, rows, "loss", "validation") == pytest.approx(
        {"unigram": 3 * np.log(2) * bytes_per_token, "xz": 1.5 * np.log(2) * bytes_per_token,
         "random": 8 * np.log(2) * bytes_per_token}
    )  # fmt: skip
    assert levels(beatable, rows, "bits_per_byte", "validation")["xz"] == 1.5
    assert levels(beatable, rows, "accuracy", "validation") == {}
    assert levels(beatable, rows, "bits_per_byte", "test") == {}
    assert levels(beatable, rows.assign(task="another"), "loss", "validation") == {}


def test_curves_show_the_levels_that_they_come_near(beatable):
    plain = curves(beatable.rows)
    low = plain.axes[0].get_ylim()[0]
    drawn = curves(beatable.rows, levels={"below": low - 0.01, "lowest": low + 0.01, "unknown": np.nan})
    assert [axes.get_ylim() for axes in drawn.axes] == [axes.get_ylim() for axes in plain.axes]
    whole, end = drawn.axes[:2]
    assert [text.get_text() for text in whole.texts] == ["lowest"]
    assert [low + 0.01] * 2 in [list(line.get_ydata()) for line in whole.get_lines()]
    assert len(whole.get_lines()) == len(plain.axes[0].get_lines()) + 1
    assert not end.texts


def test_report_draws_what_others_published(beatable, tmp_path):
    low = curves(beatable.rows).axes[0].get_ylim()[0]
    beatable.experiment["published"] = {"somebody, 1 run": low + 0.01}
    assert ">somebody, 1 run</text>" in write(beatable, tmp_path / "report.html").read_text()


def test_report_shows_the_reference_predictors(beatable, tmp_path):
    beatable.experiment["reference_predictors"]["tiny_text"]["<b>"] = {
        "metric": "loss",
        "split": "validation",
        "value": 1.0,
    }
    text = write(beatable, tmp_path / "report.html").read_text()
    assert "<b>" not in text
    words = words_of(tmp_path / "report.html")
    assert pd.read_csv(tmp_path / "reference_predictors.csv")["predictor"].to_list() == [
        "<b>",
        "xz",
        "unigram",
        "random",
    ]
    assert re.search(r"Reference predictors.*xz.*1\.5000.*not beaten.*unigram.*3\.0000 ?2\.\d{4} ?beaten", words)
    assert ">unigram</text>" in text
    assert ">random</text>" not in text
    alone = replace(beatable, rows=synthetic.rows(["gelu"]))
    words = words_of(write(alone, tmp_path / "alone.html"))
    assert "No comparison yet" in words
    assert "not beaten" in words


def test_differences_show_every_seed_and_the_verdict(diverged):
    comparison = compare(diverged)
    axes = differences(comparison).axes[0]
    order = sorted(comparison.arms, key=lambda arm: arm.difference)
    assert [label.get_text() for label in axes.get_yticklabels()] == [arm.label for arm in order]
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    np.testing.assert_equal([tuple(line.get_xdata()) for line in dots], [arm.differences for arm in order])
    words = [text.get_text() for text in axes.texts]
    assert words[0].startswith("better")
    assert any("1 of 5 diverged" in text for text in words)
    assert axes.get_xlim()[1] < 0.1  # the diverged run does not flatten the others


def test_report_is_one_file_that_begins_with_the_answer(diverged, tmp_path):
    path = write(replace(diverged, directory=tmp_path / "new" / "results"))
    assert path == tmp_path / "new" / "results" / "report.html"
    page = Page(path.read_text())
    assert not page.open
    assert not page.loads
    assert "url(http" not in path.read_text()
    assert page.tags.count("svg") == 2
    words = words_of(path)
    assert "Against gelu, by validation loss at step 2000, over 4 to 5 paired seeds, untuned" in words
    assert "Better: geglu −0.0260 (−0.0326 to −0.0194); swiglu −0.0186" in words
    assert "Worse: relu +0.0303" in words
    assert "Inconclusive: silu" in words
    assert words.index("Better:") < words.index("Ranking")
    assert "Training time, relative to gelu: geglu ×1.10 (×1.10 to ×1.10), swiglu ×1.10 (×1.10 to ×1.10)." in words
    assert words.index("untuned: ") < words.index("Ranking")
    assert re.search("diverged[^.]*: 1 of silu", words).start() < words.index("Ranking")
    assert "silu, seed 3: at step 1500" in words
    for fact in (
        "n_layers4",
        "seed0, 1, 2, 3, 4",
        "optimizeradamw",
        "jax0.10.2",
        "commit0123456789",
        "ablations run synthetic",
        "devicecpu",
    ):
        assert fact in words
    assert "not complete" not in words
    beside = sorted(file.name for file in path.parent.iterdir())
    tables = [
        f"{name}.{kind}" for name in ("cost", "other_tests", "ranking", "speed", "targets") for kind in ("csv", "tex")
    ]
    names = sorted(["curves.svg", "differences.svg", "report.html", *tables])
    assert beside == names
    assert all(name in words for name in names if name != "report.html")
    assert pd.read_csv(path.with_name("ranking.csv"))["arm"].iloc[0] == "geglu"
    assert r" & 5 & $-$0.0260 & $-$0.0326 to $-$0.0194 & " in path.with_name("ranking.tex").read_text()


def test_report_is_the_same_each_time(diverged, tmp_path):
    first, second = (write(diverged, tmp_path / name) for name in ("one.html", "two.html"))
    assert first.read_text() == second.read_text()


def test_text_from_the_results_cannot_become_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    results = synthetic.results(synthetic.rows(["gelu", evil], axes={"norm": ["<b>", "<i>"]}))
    results.experiment.update(name=evil, question=evil, command=evil)
    results.cells[0]["settings"][evil] = evil
    text = write(results, tmp_path / "report.html").read_text()
    assert text.count("<script>") == 1  # the page's own
    assert "<b>" not in text
    assert not Page(text).open


def test_unfinished_results_say_so(tmp_path):
    table = synthetic.rows(["gelu", "relu", "silu"])
    table = table[~((table["activation"] == "silu") & (table["step"] > 750))]
    table = table[~((table["activation"] == "relu") & (table["seed"] == 4))]
    results = synthetic.results(table)
    results.experiment["cells"] = {f"{name}-1a2b3c4d": 5 for name in ("gelu", "relu", "silu", "mish")}
    for cell, done in zip(results.cells, (5, 4, 0), strict=True):
        cell |= {"runs": 5, "done": done}
    words = words_of(write(results, tmp_path / "report.html"))
    assert "not complete" in words
    assert re.search(r"mish\b.* missing", words)
    assert "relu has 4 of 5 runs" in words
    assert "reached step 750 of 2000" in words
    assert "compared at step 750 of 2000" in words
    assert compare(results).family_size == 3


def test_report_before_there_is_anything_to_compare(tmp_path):
    path = write(synthetic.results(synthetic.rows(["relu", "silu"])), tmp_path / "report.html")
    assert "No comparison yet: baseline is 'gelu', but the rows have relu, silu" in words_of(path)
    assert Page(path.read_text()).tags.count("svg") == 1


def test_each_setting_has_its_own_curves(tmp_path):
    results = synthetic.results(synthetic.rows(["gelu", "relu"], axes={"norm": ["rms", "layer"]}))
    path = write(results, tmp_path / "report.html")
    assert Page(path.read_text()).tags.count("svg") == 3
    assert "norm=layer" in words_of(path)


@pytest.mark.parametrize("setting", [{"layer"}, {"layer", "rms"}])
def test_settings_in_which_nothing_is_finite_do_not_stop_the_report(tmp_path, setting):
    rows = synthetic.rows(["gelu", "relu"], axes={"norm": ["rms", "layer"]})
    for activation, seed in itertools.product(["gelu", "relu"], range(5)):
        broken = synthetic.diverge(rows[rows["norm"].isin(setting)], activation, seed, 0)
        rows = pd.concat([rows[~rows["norm"].isin(setting)], broken], ignore_index=True)
    path = write(synthetic.results(rows), tmp_path / "report.html")
    assert Page(path.read_text()).tags.count("svg") == 4 - len(setting)
    assert "diverged" in words_of(path)
    if len(setting) == 1:  # what diverged is no target
        assert pd.read_csv(tmp_path / "targets.csv")["norm"].unique().tolist() == ["rms"]
    else:
        assert not (tmp_path / "targets.csv").exists()


def test_further_methods_stand_beside_the_t_test_where_there_are_pairs_enough(tmp_path):
    heads = ("p of sign flips", "BCa interval")
    for n, there in ((5, ()), (8, heads[:1]), (20, heads)):
        found = synthetic.results(synthetic.rows(["gelu", "swiglu", "relu"], seeds=range(n)))
        words = words_of(write(found, tmp_path / "report.html"))
        assert [head for head in heads if head in words] == list(there)
        table = pd.read_csv(tmp_path / "ranking.csv").set_index("arm")
        assert "wins_verdict" not in table  # one rule decides
        assert words.index("Ranking") < words.index("pairs won")
    arm = next(arm for arm in compare(found).arms if arm.activation == "swiglu")
    assert tuple(table.loc["swiglu", ["sign_flip_p", "bca_low", "bca_high"]]) == pytest.approx(
        (arm.sign_flip_p, *arm.bca)
    )


def test_one_seed_makes_a_report_without_intervals(tmp_path):
    words = words_of(write(synthetic.results(synthetic.rows(seeds=[0])), tmp_path / "report.html"))
    assert "over 1 paired seed, untuned" in words
    assert "−∞ to +∞" in words


def test_report_says_what_was_tuned_and_what_arms_have_for_their_own(tmp_path):
    rates = (1e-3, 1e-2)
    tuned = synthetic.results(synthetic.rows(["gelu", "relu"], seeds=[7, 8], learning_rates=rates))
    own = [{"arm": {"activation": "relu"}, "fields": {"hyperparameters.learning_rate": 1e-3, "settings.steps": 1500}}]
    found = synthetic.results(synthetic.rows(["gelu", "relu"]), tmp_path)
    found.experiment.update(overrides=own, margin=0.5, looks=[4, 8])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(found), "tuning", property(lambda results: tuned))
        words = words_of(write(found))
    assert "gelu: the best learning rate, 0.001, lies on the edge of the grid" in words
    assert "Expected best of N points" in words
    assert "Arm overrides" in words
    assert "1,500" in words
    assert "within 0.5 with p below 0.05" in words
    assert "between 4 and 8" in words
    assert pd.read_csv(tmp_path / "tuning.csv")["chosen"].sum() == 2
    assert "relu" in (tmp_path / "tuning_differences.svg").read_text()


def test_report_of_a_tuning_grid_with_one_rate(tmp_path, monkeypatch):
    tuned = synthetic.results(synthetic.rows(["gelu", "relu"], seeds=[7, 8]))
    found = synthetic.results(synthetic.rows(["gelu", "relu"]), tmp_path)
    monkeypatch.setattr(type(found), "tuning", property(lambda results: tuned))
    write(found)
    assert pd.read_csv(tmp_path / "tuning.csv")["chosen"].tolist() == [True, True]
    assert not (tmp_path / "tuning_differences.svg").exists()


def test_report_times_the_arms_to_the_baselines_own_values(tmp_path):
    found = synthetic.results(synthetic.rows(["gelu", "relu", "swiglu"]))
    write(found, tmp_path / "report.html")
    table = pd.read_csv(tmp_path / "targets.csv").set_index(["activation", "target"])
    assert len(table) == 2 * 3
    last = table.index.get_level_values("target").min()
    assert table.loc[("relu", last), "steps"] == float("inf")
    assert table.loc[("relu", last), "missed"] == 5
    assert table.loc[("swiglu", last), "speed_up"] >= 1


def test_a_report_of_many_arms_draws_the_best_and_lists_all(tmp_path, monkeypatch):
    names = ["gelu", "swiglu", *(f"arm{index}" for index in range(3 * MOST))]
    drawn = []
    for module in ("report", "learning_curves"):
        monkeypatch.setattr(f"lab.report.{module}.svg", lambda figure, title: "<svg></svg>")
    monkeypatch.setattr("lab.report.report.differences", lambda shown: drawn.append([arm.label for arm in shown.arms]))
    monkeypatch.setattr(
        "lab.report.learning_curves.curves", lambda rows, *rest: drawn.append(rows["activation"].unique())
    )
    results = synthetic.results(synthetic.rows(names, seeds=range(3)))
    text = write(results, tmp_path / "report.html").read_text()
    differences, curves = drawn
    assert differences[0] == "swiglu"
    assert len(differences) == MOST
    assert set(curves) == {*differences, "gelu"}
    assert set(pd.read_csv(tmp_path / "targets.csv")["arm"]) == set(differences)
    assert len(pd.read_csv(tmp_path / "ranking.csv")) == len(names)
    assert re.search(rf"Of {len(names) - 1} arms .*{MOST} are shown", text)
    assert re.search(r"and \d+ more", text)


def test_tables_grow_with_the_arms_and_figures_do_not(tmp_path, monkeypatch):
    """Bytes of the page beyond those of as many arms as are drawn: under 1.5 kB an arm."""
    for module in ("report", "learning_curves"):
        monkeypatch.setattr(f"lab.report.{module}.svg", lambda figure, title: "<svg></svg>")
    monkeypatch.setattr("lab.report.report.differences", lambda shown: None)
    monkeypatch.setattr("lab.report.learning_curves.curves", lambda *arguments: None)
    sizes = []
    for n in (MOST, 2 * MOST):
        names = ["gelu", *(f"arm{index:04}" for index in range(n))]
        results = synthetic.results(synthetic.rows(names, seeds=range(3)))
        sizes.append(write(results, tmp_path / "report.html").stat().st_size)
    assert sizes[1] - sizes[0] < 1500 * MOST


@pytest.mark.parametrize("compared", [True, False])
def test_settings_whose_curves_are_left_out_are_said(tmp_path, monkeypatch, compared):
    drawn = []
    for module in ("report", "learning_curves"):
        monkeypatch.setattr(f"lab.report.{module}.svg", lambda figure, title: "<svg></svg>")
    monkeypatch.setattr("lab.report.learning_curves.curves", lambda rows, *rest: drawn.append(rows["width"].unique()))
    names = ["gelu", "silu"] if compared else ["silu"]
    widths = list(range(8, 8 * (FIGURES + 4), 8))
    results = synthetic.results(synthetic.rows(names, seeds=range(2), axes={"width": widths}))
    text = write(results, tmp_path / "report.html").read_text()
    assert len(drawn) == FIGURES
    assert re.search(rf"{FIGURES} of {len(widths)} settings|Of {len(widths)} settings .*{FIGURES}", text)
