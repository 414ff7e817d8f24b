"""What a command does on the terminals and in the environments that people have."""

import codecs
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from lab.cli.output import plain
from lab.experiment.experiment import grid
from lab.report.narrow import Fitted
from lab.runner.progress import Progress

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ROOT / "tests" / "results_0_1_0", tmp_path / "results")


def ablations(*words, **environment):
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, ROOT / "ablations.py", *map(str, words)],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


def shown(renderable, width, height=40):
    file = io.StringIO()
    Console(file=file, width=width, height=height).print(renderable)
    return file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_row_loses_its_name_or_a_value(width):
    table = Table(box=None)
    table.add_column("activation", overflow="fold", min_width=10)
    for head in ("para-\nmeters", "loss", "verdict"):
        table.add_column(head, no_wrap=True)
    names = ["gelu", "swiglu", "a_name_of_one's_own_that_is_long"]
    for name in names:
        table.add_row(name, "8171520000", "−0.02310 ±0.00155", "inconclusive")
    text = shown(Fitted(table), width)
    assert max(map(len, text.splitlines())) <= width
    letters = "".join(text.split())
    if width < 60:  # rows are stacked; else a long name folds within its column
        assert all(name in letters for name in names)
    assert "gelu" in letters
    assert letters.count("8171520000") == letters.count("inconclusive") == 3
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_live_progress_keeps_the_names_of_cells(experiment, width):
    cells = grid(experiment)
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=24)
    text = shown(Progress(cells, console, Path("somewhere"))._table(), width, 24)
    assert len(text.splitlines()) <= 24
    assert cells[0].name in "".join(text.split())


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_characters_that_cannot_be_written_are_replaced_and_a_minus_stays_one(folder, environment):
    done = ablations("compare", folder, COLUMNS="100", **environment)
    assert done.returncode == 0, done.stderr
    assert b"-0.0231" in done.stdout
    assert not done.stderr


def test_bytes_of_names_that_are_no_text_come_back():
    codecs.register_error("test.plain", plain)
    assert "a\udce4−x√".encode("ascii", "test.plain") == b"a\xe4-x?"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_a_closed_stream_is_no_error(closed):
    script = f"exec {sys.executable} {ROOT / 'ablations.py'} list {closed}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False)
    assert done.returncode == 0
    assert not done.stderr


def test_what_libraries_print_goes_into_no_file_where_stdout_is_closed(tmp_path):
    program = (
        "import os, sys; from lab.cli import output; output.prepare(); "
        f"file = open({str(tmp_path / 'results')!r}, 'w'); os.write(1, b'noise'); file.close()"
    )
    subprocess.run(["bash", "-c", f'{sys.executable} -c "{program}" >&-'], cwd=ROOT, check=True)
    assert (tmp_path / "results").read_text() == ""


@pytest.mark.parametrize("platform", ["cuda", "nosuch"])
def test_a_platform_that_is_not_here_is_refused_in_one_sentence(platform):
    done = ablations("describe", "quickstart", JAX_PLATFORMS=platform)
    assert done.returncode == 2
    sentence = done.stderr.decode()
    assert f"'{platform}'" in sentence
    assert "JAX_PLATFORMS" in sentence
    assert sentence.count("\n") == 1


@pytest.mark.parametrize(("ignored", "code"), [(False, 130), (True, 0)])
def test_a_closed_terminal_interrupts_unless_it_is_ignored(ignored, code):
    """SIGHUP is as Ctrl-C, but not under nohup."""
    program = (
        "import os, signal, sys; from lab.cli import main as cli\n"
        f"signal.signal(signal.SIGHUP, signal.SIG_IGN if {ignored} else signal.SIG_DFL)\n"
        "cli.overview = lambda: os.kill(os.getpid(), signal.SIGHUP) or 'overview'\n"
        "sys.exit(cli.main(['--help']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == code
    assert ("interrupted" in done.stderr) == (not ignored)
