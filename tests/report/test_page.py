"""Pages: well-formed whatever they are told, their tables sortable, and beside them as CSV and LaTeX."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markup import Page, words_of

from lab.report import latex, page

EVIL = "<b>&\"'\\%_#${}~^|×−±∞†"


@pytest.fixture
def table():
    values = pd.DataFrame(
        {
            "activation": ["gelu", EVIL, "glu (norm=rms)"],
            "size": [1_200_000, 7, 12],
            "loss": [0.25, np.nan, -np.inf],
            "verdict": ["baseline", "better", "inconclusive"],
        }
    )
    return page.Table("one", values, page.columns(values))


def keys(text, head):
    """What the rows of a page's first table are sorted by in a column, as the script reads it."""
    heads = re.findall(r"<th[^>]*>(.*?)</th>", text)
    column = [re.sub("<[^>]*>", "", one) for one in heads].index(head)
    rows = [re.findall(r"<td([^>]*)>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", text)[1:]]
    told = [re.search('data-value="(.*?)"', row[column][0]) for row in rows]
    return [found[1] if found else re.sub("<[^>]*>", "", row[column][1]) for found, row in zip(told, rows, strict=True)]


def test_a_page_is_well_formed_and_needs_no_other_file(table, tmp_path):
    parts = [page.heading(EVIL), table, *page.notice(EVIL, [EVIL]), page.soft(EVIL), page.facts(EVIL, [{EVIL: EVIL}])]
    path = page.write(tmp_path / "page.html", EVIL, EVIL, parts)
    read = Page(path.read_text())
    assert not read.open
    assert not read.loads
    assert "b" not in read.tags
    assert words_of(path).count(EVIL) == 11


def test_every_head_of_a_table_is_a_button_and_every_cell_has_what_it_is_sorted_by(table, tmp_path):
    text = page.write(tmp_path / "page.html", "one", "", [table]).read_text()
    heads = re.findall(r"<th .*?</th>", text)
    assert len(heads) == 4
    assert all(re.search(r'<button type="button">\w+</button>', head) for head in heads)
    assert keys(text, "size") == ["1200000.0", "7", "12"]
    assert keys(text, "loss") == ["0.25", "", "-Infinity"]
    assert keys(text, "verdict") == ["baseline", "better", "inconclusive"]
    assert '<tr class="baseline">' in text
    assert '<span class="better">better</span>' in text


@pytest.mark.skipif(shutil.which("node") is None, reason="the page's script needs node to run outside of a browser")
def test_the_script_is_valid(tmp_path):
    script = tmp_path / "page.mjs"
    text = page.write(tmp_path / "page.html", "one", "", []).read_text()
    script.write_text(re.search("<script>(.*)</script>", text, re.DOTALL)[1])
    subprocess.run(["node", "--check", script], check=True)


def test_beside_the_page_lie_its_tables_and_figures(table, tmp_path):
    path = page.write(tmp_path / "page.html", "one", "", [table, page.Drawing("two", "<svg></svg>", "caption")])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.csv", "one.tex", "page.html", "two.svg"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "one.csv"), table.values)
    drawing = (tmp_path / "two.svg").read_text()  # legible where no page gives it a colour
    assert drawing.startswith("<svg><style>")
    assert "prefers-color-scheme:dark" in drawing
    assert "prefers-color-scheme:dark" not in path.read_text().split("<body")[1]  # in the page, it has the page's
    assert "Beside this page: one.csv, one.tex, two.svg." in words_of(path)
    assert r"gelu & 1,200,000 & 0.25 & baseline \\" in (tmp_path / "one.tex").read_text()


def test_a_folded_table_is_opened_for_print(tmp_path):
    values = pd.DataFrame({"n": [1]})
    folded = page.Table("one", values, page.columns(values), summary="Values")
    text = page.write(tmp_path / "page.html", "one", "", [folded]).read_text()
    assert "<details><summary>Values</summary><div" in text
    assert "beforeprint" in text


def test_values_in_words():
    told = [page.plain(value) for value in (None, np.nan, True, np.int64(-1234), 0.123456, -2e-7, np.inf, "x")]
    assert told == ["", "", "yes", "−1,234", "0.1235", "−2e−07", "∞", "x"]


def test_facts_name_one_value_where_all_agree_and_else_each():
    told = page.gathered([{"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}])
    assert told == {"a": "1", "b.c": "2, 3"}


@given(st.text())
def test_latex_has_no_bare_special(text):
    escaped = latex.escaped(text)
    bare = re.sub(r"\\[%&_#${}]|\\[a-z]+\{\}|\$(-|\\[a-z]+)\$", "", escaped)
    assert not set(bare) & set("%&_#${}~^\\<>|")


def test_a_tabular_has_a_line_a_row_and_an_alignment_a_column():
    text = latex.tabular(["a_1", "95% interval"], [["x & y", "−0.1 ± 2"], [EVIL, "×1.10"]], "lr")
    assert r"\begin{tabular}{lr}" in text
    assert "a\\_1 & 95\\% interval \\\\\n\\midrule" in text
    assert r"x \& y & $-$0.1 $\pm$ 2 \\" in text
    assert text.count(r"\\" + "\n") == 3
    assert all(len(re.findall(r"(?<!\\)&", line)) == 1 for line in text.splitlines() if line.endswith(r"\\"))
    assert text.count("$") % 2 == 1  # pairs, and the escaped one
