"""Reproductions: values between points, what the axes cut off, verdicts by their rule, leads with their intervals."""

import math

import numpy as np
import pandas as pd
import pytest
from markup import Page, words_of

from lab.report import page
from lab.report.studies.reproduction import Panel, Reproduction, Verdict, compared, draw, lead, value_at, verdict
from lab.report.studies.study_page import Section, write
from lab.results.excerpts import Excerpt

EPOCHS = np.arange(0.5, 10.5, 0.5)


def curve(name: str, level: float, split: str = "train", since: float = 0.5) -> pd.DataFrame:
    epochs = EPOCHS[since <= EPOCHS]
    return pd.DataFrame({"activation": name, "split": split, "epoch": epochs, "value": level / epochs})


def panel(published: dict[str, float], ours: dict[str, list[float]], **fields) -> Panel:
    runs = [curve(name, level).assign(seed=seed) for name, levels in ours.items() for seed, level in enumerate(levels)]
    return Panel("one", pd.concat([curve(name, level) for name, level in published.items()]), pd.concat(runs), **fields)


def judged(published: dict[str, float], ours: dict[str, list[float]]) -> str:
    return verdict(compared(panel(published, ours, at=(2.0, 5.0))), "claim").outcome


def test_a_curve_is_read_between_its_points_and_a_little_behind_its_end():
    points = pd.DataFrame({"epoch": [3.0, 1.0, 2.0], "value": [30.0, 10.0, 20.0]})
    assert value_at(points, 1.25) == pytest.approx(12.5)
    assert value_at(points, 3.5) == 30.0
    assert math.isnan(value_at(points, 3.6))
    assert math.isnan(value_at(points, 0.9))


def test_the_table_has_median_range_and_difference_at_every_epoch_reached():
    table = compared(panel({"gelu": 2.0}, {"gelu": [2.0, 2.2, 3.0]}, at=(2.0, 10.0, 20.0)))
    assert list(table["epoch"]) == [2.0, 10.0]
    assert table["published"].tolist() == pytest.approx([1.0, 0.2])
    assert table["ours"].tolist() == pytest.approx([1.1, 0.22])
    assert table["low"].tolist() == pytest.approx([1.0, 0.2])
    assert table["high"].tolist() == pytest.approx([1.5, 0.3])
    assert table["n"].tolist() == [3, 3]
    assert table["difference"].tolist() == pytest.approx([0.1, 0.1])


def test_a_curve_that_begins_later_was_above_the_axes():
    whole = panel({"gelu": 2.0}, {"gelu": [2.0, 2.0], "relu": [8.0, 8.0]}, at=(2.0, 5.0))
    published = pd.concat([whole.published, curve("relu", 8.0, since=4.0)])
    table = compared(Panel("one", published, whole.ours, whole.at)).set_index(["activation", "epoch"])
    assert table.loc[("relu", 2.0), "published"] == math.inf
    assert math.isnan(table.loc[("relu", 2.0), "difference"])
    assert table.loc[("relu", 5.0), "published"] == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ({"gelu": [1.0, 1.05], "relu": [2.0, 2.1], "elu": [4.0, 4.2]}, "reproduced"),
        ({"gelu": [1.0, 1.05], "relu": [2.0, 2.1], "elu": [5.0, 5.2]}, "partly"),  # one value is far
        ({"gelu": [1.0, 1.05], "relu": [4.0, 4.1], "elu": [2.0, 2.2]}, "partly"),  # one of three orders is another
        ({"gelu": [4.0, 4.05], "relu": [2.0, 2.1], "elu": [1.0, 1.2]}, "not reproduced"),
        ({"gelu": [1.0], "relu": [2.0], "elu": [4.0]}, "no verdict"),
    ],
)
def test_the_verdict_follows_its_rule(ours, outcome):
    assert judged({"gelu": 1.0, "relu": 2.0, "elu": 4.0}, ours) == outcome


def test_curves_that_the_paper_does_not_separate_count_neither_way():
    apart, close = {"gelu": [1.0, 1.0], "relu": [2.0, 2.0], "elu": [2.05, 2.05]}, {"gelu": 1.0, "relu": 2.1, "elu": 2.0}
    assert judged(close, apart) == "reproduced"
    assert judged({"gelu": 1.0, "relu": 1.05}, {"gelu": [1.0, 1.0], "relu": [0.9, 0.9]}) == "no verdict"


def test_a_lead_is_the_ratio_of_losses_with_its_interval():
    whole = panel({"gelu": 1.0}, {"gelu": [1.0, 1.1, 1.2], "relu": [2.0, 2.3, 2.2]}, at=())
    found = lead("faster", whole, "train", "gelu", "relu", 2, 6)
    logs = np.log([0.5, 1.1 / 2.3, 1.2 / 2.2])
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)  # the 97.5 % point of t with two degrees of freedom
    low, high = np.exp([logs.mean() - half, logs.mean() + half])
    assert found.outcome == "yes"
    assert found.reason == f"ratio of losses {math.exp(logs.mean()):.3f} (95 % interval {low:.3f} to {high:.3f}, n = 3)"
    assert lead("faster", whole, "train", "relu", "gelu", 2, 6).outcome == "no, higher"
    assert lead("faster", whole, "train", "gelu", "relu", 5, 5).outcome == "yes"


def test_a_lead_of_one_pair_or_within_the_noise_is_not_told():
    alone = panel({"gelu": 1.0}, {"gelu": [1.0], "relu": [2.0]}, at=())
    assert lead("faster", alone, "train", "gelu", "relu", 2, 6).outcome == "no verdict"
    noise = panel({"gelu": 1.0}, {"gelu": [1.0, 1.3], "relu": [1.2, 1.1]}, at=())
    assert lead("faster", noise, "train", "gelu", "relu", 2, 6).outcome == "inconclusive"


def test_every_split_and_panel_has_axes_with_ours_and_theirs():
    one = panel({"gelu": 1.0, "relu": 2.0}, {"gelu": [1.0, 1.1], "relu": [2.0, 2.2]}, at=(2.0,), above=3.0)
    both = Panel("two", pd.concat([one.published, curve("gelu", 1.0, "test")]), one.ours, one.at)
    axes = draw([one, both]).axes
    assert [each.get_title() for each in axes] == ["one, train", "one, test", "two, train", "two, test"]
    figure = axes[0].figure
    assert figure.get_figwidth() <= 9.6  # the width of the page, however many panels
    three = draw([one, one, one]).axes
    assert [each.axison for each in three] == [True, True, True, False]
    dashed = [line for line in axes[0].lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(dashed) == 2
    assert axes[0].get_ylim() == (0, 3.0)


def test_without_published_curves_ours_are_drawn_and_tabled_alone():
    one = panel({"gelu": 1.0}, {"gelu": [1.0, 1.1], "relu": [2.0, 2.2]}, at=(2.0,))
    alone = Panel("alone", one.published.head(0), one.ours, one.at)
    table = compared(alone)
    assert table["activation"].tolist() == ["gelu", "relu"]
    assert table["published"].isna().all()
    assert table["difference"].isna().all()
    assert verdict(table, "claim").outcome == "no verdict"
    assert [each.get_title() for each in draw([alone]).axes] == ["alone, train", "alone, validation"]


def test_the_gallery_has_verdicts_first_and_of_every_section_its_files(tmp_path):
    one = panel({"gelu": 1.0, "relu": 2.0}, {"gelu": [1.0, 1.1], "relu": [2.0, 2.2]}, at=(2.0,), above=0.9)
    published = pd.concat([one.published, curve("elu", 8.0, since=4.0)])
    table = compared(Panel("one", published, pd.concat([one.ours, curve("elu", 8.0).assign(seed=0)]), (2.0,)))
    made = {"paper": Reproduction("Figure <1>", draw([one]), table, (verdict(table, "order"),), ("a & b",))}
    excerpts = {
        "rows": Excerpt(one.ours, {"command": "ablations figures", "seconds": 9, "environments": [{"a": {"b": 1}}]})
    }
    path = write(tmp_path, "Title <b>", made, excerpts, {"cifar": "no data"})
    text, words = path.read_text(), words_of(path)
    assert not Page(text).open
    assert not Page(text).loads
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("index.html", "made.csv", "made.tex", "paper.csv", "paper.svg", "paper.tex"),
    ]
    said = ["order: no verdict n = 1", "Not made:cifar: no data", "Figure <1>", "a & b", "above the axes", "a.b1"]
    places = [words.index(one) for one in said]
    assert places[0] < places[1] < places[4] < words.index("ablations figures") < places[5]
    assert "+5.0%" in words


def test_a_study_answers_its_question_and_holds_its_reports(tmp_path):
    sections = {
        "speed": Section("Speed", table=pd.DataFrame({"activation": ["gelu"], "difference": [0.5]})),
        "words": Section("Words", notes=("nothing measured",)),
    }
    values = pd.DataFrame({"activation": ["relu"]})
    reports = {"quickstart": ["<p>of the report</p>", page.Table("ranking", values, page.columns(values))]}
    claims = [Verdict("gelu is better", "yes", "p = 0.01")]
    path = write(tmp_path / "page", "Study", sections, {}, {}, "Which?", claims, reports)
    words = words_of(path)
    assert words.index("Which?") < words.index("gelu is better: yes p = 0.01") < words.index("Speed")
    assert "gelu0.5" in words  # a difference in its own unit
    assert words.index("Speed") < words.index("Experiment quickstart") < words.index("of the report")
    assert not Page(path.read_text()).open
    assert {"speed.tex", "quickstart-ranking.csv"} < {file.name for file in path.parent.iterdir()}
