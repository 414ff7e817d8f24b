"""The commands: bad input is refused in one sentence before anything is compiled or written; a user's file trains."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from refusals import assert_names
from rich.console import Console

import ablations
from lab.experiment.experiment import Cell, Tuning, grid
from lab.results import results
from lab.runner.progress import Pace, Progress
from lab.training import train

# The tiny experiment of conftest.py, so that its programs are compiled once, with an activation of the user's own.
FILE = """
from lab.experiment.experiment import Experiment
from models.activations import Activation
from models.transformer import Transformer
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings

cube = Activation("cube", lambda x: x**3)

experiment = Experiment(
    name="tiny",
    question="Which of two?",
    task=CausalLanguage(data="DATA", context=8, evaluation_windows=8),
    model=Transformer(context=8, d_model=8, n_layers=1, n_heads=2),
    activations=("gelu", cube),
    seeds=(0, 1, 2),
    settings=Settings(steps=6, batch_size=4, evaluate_every=2, checkpoint_every=1),
    hyperparameters=Hyperparameters(learning_rate=1e-2),
)
"""


class NothingIsCompiled:
    def __init__(self, *arguments):
        raise AssertionError("this would have been compiled")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Commands run in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(train, "Program", NothingIsCompiled)


@pytest.fixture
def file(tmp_path, corpus):
    """A user's experiment file, which has an activation of its own."""
    path = tmp_path / "tiny.py"
    path.write_text(FILE.replace("DATA", corpus))
    return path


def edited(file, old, new):
    """The user's file with a change."""
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def refusal(capsys):
    """What a command answers to bad input."""

    def refusal(*words):
        assert ablations.main([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("ablations: ")
        assert err.count("\n") == 1
        assert not any(Path().iterdir())
        return err.removeprefix("ablations: ").strip()

    return refusal


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("command", ["run", "describe"])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--activations gelu geluu", ("activation", "'geluu'", "'gelu'")),
        ("--activations gelu cub", ("activation", "'cub'")),
        ("--activations gelu gelu", ("activations", "gelu", "once")),
        ("--activations", ("--activations", "value")),
        ("--seeds", ("--seeds", "value")),
        ("--seeds -1", ("seeds", "-1", "0 to 2**32 - 1")),
        ("--seeds 1 1", ("seeds", "1", "once")),
        ("--settings.steps 0", ("settings.steps", "0", "1")),
        ("--settings.batch-size -4", ("settings.batch_size", "-4", "1")),
        ("--settings.stepps 3", ("--settings.stepps", "'--settings.steps'")),
        ("--settings.steps x", ("--settings.steps", "'x'", "whole number")),
        ("--settings.steps 1 --settings.steps 2", ("--settings.steps", "twice")),
        ("--model.n-heads 3", ("n_heads", "3", "d_model", "8")),
        ("--model.vocab-size 255", ("model.vocab_size", "255", "256")),
        ("--task.context 9", ("9", "positions", "8")),
        ("--task.context 99999 --model.context 99999", ("context", "99999", "text:")),
        ("--task.data stdlb", ("data", "'stdlb'", "'stdlib'")),
        ("--task.data text:nowhere/*.txt", ("data", "'text:nowhere/*.txt'", "no file")),
        ("--learning-rates 0.1 0", ("hyperparameters.learning_rate", "0.0", "positive")),
        ("--learning-rates 0.1 nan", ("hyperparameters.learning_rate", "nan")),
        ("--learning-rates 0.1 inf", ("hyperparameters.learning_rate", "inf", "finite")),
        ("--baseline relu", ("baseline", "'relu'", "gelu", "cube")),
        ("--metric los", ("metric", "'los'", "bits_per_byte", "perplexity", "'loss'")),
        ("--axis model.nrm none", ("axis", "model.nrm", "'model.norm'")),
        ("--axis model.norm none --axis model.norm none", ("axes", "model.norm", "once")),
        ("--axis model.activation relu", ("axis", "model.activation", "activations")),
        ("stray", ("ablations", "'stray'")),
    ],
)
def test_bad_options_are_refused(refusal, file, command, line, words):
    assert_names(refusal(command, file, *line.split()), *words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ("list", "describe", "run")),
        ("rnu", ("'rnu'", "'run'")),
        ("run", ("ablations run", "name", "ablations list")),
        ("run --settings.steps 3", ("ablations run", "name", "ablations list")),
        ("run quikstart", ("experiment", "'quikstart'", "'quickstart'")),
        ("describe zzz", ("experiment", "'zzz'", "quickstart")),
        ("run nowhere.py", ("file", "nowhere.py")),
        ("run quickstart --execution gpu", ("--execution", "'gpu'", "auto", "vmap", "map")),
        ("describe quickstart --out there", ("option", "--out")),
        ("list all", ("ablations list", "'all'")),
        ("compare", ("ablations compare", "DIRECTORY")),
        ("compare a b", ("ablations compare", "'b'")),
        ("compare a --baselin gelu", ("--baselin", "'--baseline'")),
        ("compare a --baseline", ("--baseline", "value")),
        ("compare nowhere", ("nowhere", "results")),
        ("report nowhere", ("nowhere", "results")),
        ("report nowhere --json", ("option", "--json")),
    ],
)
def test_bad_commands_are_refused(refusal, line, words):
    assert_names(refusal(*line.split()), *words)


@pytest.mark.usefixtures("uncompiled")
def test_results_do_not_go_where_something_else_is(refusal, file, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("mine")
    foreign = tmp_path / "foreign"
    assert_names(refusal("run", file, "--out", foreign), foreign, "not empty", "--out")
    tune = ("tune", file, "--tuning.learning-rates", "1e-3", "--tuning.seeds", "7")
    assert_names(refusal(*tune, "--out", foreign), foreign, "not empty", "--out")
    assert_names(refusal("compare", foreign), foreign, "results")
    assert_names(refusal("run", file, "--out", foreign / "letter.txt"), foreign / "letter.txt", "Not a directory")
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", ("tiny.py", "Experiment")),
        ("experiment = (", ("tiny.py", "line 1", "'('")),
        (
            "from models.activations import Activation\nActivation('gelu', abs)",
            ("activation", "'gelu'", "built in"),
        ),
    ],
)
def test_a_file_without_an_experiment_is_refused(refusal, file, text, words):
    file.write_text(text)
    assert_names(refusal("run", file), *words)


@pytest.mark.parametrize("text", ["raise ValueError('mine')", "import nowhere_to_be_found", "int('x')"])
def test_an_error_of_the_users_own_keeps_its_trace(file, text):
    file.write_text(text)
    with pytest.raises((ValueError, ImportError)) as error:
        ablations.main(["run", str(file)])
    assert error.traceback[-1].path == file


def test_the_error_of_a_library_keeps_its_trace(monkeypatch):
    monkeypatch.setattr(results, "read", lambda directory: json.loads("{"))
    with pytest.raises(ValueError, match="Expecting property name"):
        ablations.main(["compare", "somewhere"])


@pytest.mark.parametrize("words", ["few", "words " * 10_000])  # what waits in a buffer, and what does not fit into one
def test_a_reader_that_has_enough_is_no_error(words):
    code = f"""
import sys
from lab.cli import commands, main
commands.COMMANDS["list"] = commands.Command("", commands.takes.NoArguments, lambda asked: print({words!r}))
sys.exit(main.main(["list"]))
"""
    command = [sys.executable, "-c", code]
    buffered, pipe = {**os.environ, "PYTHONUNBUFFERED": ""}, subprocess.PIPE
    root = Path(ablations.__file__).parent
    with subprocess.Popen(command, cwd=root, env=buffered, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_heavy_libraries_are_imported_where_they_are_needed():
    heavy = {"jax", "flax", "numpy", "pandas", "pyarrow", "scipy", "matplotlib", "rich", "tyro", "tensorflow_datasets"}
    code = "import sys, ablations; ablations.main(['--help']); print(*sys.modules)"
    root = Path(ablations.__file__).parent
    loaded = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert not heavy & set(loaded.split())


@pytest.mark.usefixtures("uncompiled")
def test_describe_compiles_nothing(file, capsys, monkeypatch):
    monkeypatch.setattr("jax._src.compiler.backend_compile_and_load", NothingIsCompiled)
    assert ablations.main(["describe", str(file), "--axis", "model.norm", "layernorm", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: Which of two?"
    assert lines[2].split() == ["cell", "runs", "parameters", "flops", "per", "token", "memory", "mb", "minutes"]
    assert [line.split("-")[:2] for line in lines[3:7]] == [
        [name, norm] for name in ("gelu", "cube") for norm in ("layernorm", "none")
    ]
    # Embeddings 256 * 8 + 8 * 8, attention 4 * 8 * 9, feed-forward 8 * 32 + 32 + 32 * 8 + 8, three norms of 2 * 8.
    assert lines[3].split()[1:3] == ["3", "3,000"]
    assert lines[4].split()[1:3] == ["3", "2,952"]
    assert lines[-1].startswith("12 runs in 4 cells, about 0.0 minutes")
    assert not any(Path().iterdir())


def test_list_names_the_experiments(capsys):
    assert ablations.main(["list"]) == 0
    words = capsys.readouterr().out.split()
    assert {"quickstart", "gelu_paper"} < set(words)


def test_a_users_activation_trains_and_keeps_its_name(file, capsys, monkeypatch):
    assert ablations.main(["run", str(file), "--out", "there"]) == 0
    out, err = capsys.readouterr()
    assert "cube" in out
    assert [line.split("-")[0] for line in err.splitlines()] == ["gelu", "cube"]
    rows = ablations.load("there")
    assert set(rows["activation"]) == {"gelu", "cube"}
    assert Path("there/report.html").exists()

    monkeypatch.setattr(train, "Program", NothingIsCompiled)
    assert ablations.main(["run", str(file), "--out", "there"]) == 0
    capsys.readouterr()
    before = Path("there/experiment.json").read_text()
    edited(file, "x**3", "x**5")
    assert ablations.main(["run", str(file), "--out", "there", "--seeds", "0", "1", "2", "3"]) == 2
    err = capsys.readouterr().err
    assert_names(err, next(Path("there/cells").glob("cube-*")), "activation", "'cube'")
    assert Path("there/experiment.json").read_text() == before
    pd.testing.assert_frame_equal(ablations.load("there"), rows)

    for words, named in (
        (["--baseline", "cub"], ("baseline", "'cub'", "gelu", "'cube'")),
        (["--metric", "los"], ("metric", "'los'", "'loss'")),
    ):
        assert ablations.main(["compare", "there", *words]) == 2
        assert_names(capsys.readouterr().err, *named)
    assert ablations.main(["compare", "there", "--baseline", "cube", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["baseline"] == "cube"


def cell(name, runs=2, steps=10):
    return SimpleNamespace(name=name, runs=[None] * runs, settings=SimpleNamespace(steps=steps))


def test_the_time_left_counts_a_start_and_all_steps_of_every_cell():
    first, second, third = cell("a"), cell("b"), cell("c", runs=4)
    pace = Pace([first, second, third], 100.0)
    assert pace.left(101.0) is None
    pace.add(first, 0, 2, 106.0)  # 6 s to compile
    assert pace.left(106.0) is None
    pace.add(first, 5, 2, 111.0)  # 1 s a step of both runs
    assert pace.left(111.0) == 5 + (6 + 10) + (6 + 20)
    assert pace.left(113.0) == 45
    pace.add(first, 10, 2, 116.0)
    pace.add(second, 0, 2, 118.0)  # 2 s to compile: 4 s in the mean
    assert pace.left(118.0) == 10 + (4 + 20)
    pace.add(second, 10, 2, 128.0)
    pace.add(third, 0, 4, 132.0)
    pace.add(third, 10, 4, 152.0)
    assert pace.left(152.0) == 0
    assert pace.left(200.0) == 0


def test_the_time_left_is_without_cells_that_are_done():
    done, rest = cell("a"), cell("b")
    pace = Pace([done, rest], 0.0)
    pace.add(rest, 4, 1, 3.0)  # resumed: of two runs one was missing, from step 4 on
    pace.add(rest, 8, 1, 7.0)
    assert pace.left(7.0) == 2
    pace.add(done, 0, 2, 9.0)  # what another runner held comes last
    assert pace.left(9.0) == 20


def shown(experiment, watched, **terminal):
    """What the console shows after the cells have reached the given steps."""
    console = Console(width=80, file=io.StringIO(), **terminal)
    cells = grid(experiment)
    with Progress(cells, console) as progress:
        for index, step, losses in watched:
            rows = [
                {"run": run, "step": step, "split": split, "metric": "loss", "value": loss}
                for split in ("train", "validation")
                for run, loss in enumerate(losses)
            ]
            progress(cells[index], step, rows)
    return console.file.getvalue().splitlines()


def test_off_a_terminal_there_is_a_line_for_each_finished_cell(experiment):
    (line,) = shown(experiment, [(0, 0, [5.0] * 3), (0, 6, [3.0, 1.0, 2.0]), (1, 0, [5.0] * 3)])
    assert line.startswith("gelu-")
    assert ": 3 runs, validation loss 2.000, 0 s, time left about 0:0" in line


def test_on_a_terminal_there_is_a_table(experiment):
    lines = shown(experiment, [(0, 4, [3.0, float("nan"), 2.0])], force_terminal=True)
    gelu, swiglu = [line.split() for line in lines if line.startswith(("gelu-", "swiglu-"))][-2:]
    assert gelu[1:] == ["3", "4/6", "nan", "nan"]
    assert swiglu[1:] == ["3"]


def test_what_needs_more_is_refused_before_anything_is_written(refusal, file, uncompiled):
    assert_names(refusal("tune", file), "--tuning.learning-rates")
    assert "seeds are 3: to stop when resolved" in refusal("run", file, "--sequential")
    assert "tuning.seeds has 2" in refusal("run", file, "--tuning.learning-rates", "0.1", "--tuning.seeds", "2", "3")
    assert "--budget is 'tiny'" in refusal("study", "glu_variants", "--budget", "tiny")
    assert "did you mean 'glu_variants'" in refusal("study", "glu_variant")
    assert "--experiments is 2" in refusal("calibrate", "--experiments", "2")
    assert not list(Path().iterdir())


def test_the_runs_of_the_tuning_are_described_too(experiment):
    rows = ablations.describe(replace(experiment, tuning=Tuning((1e-3, 1e-2), seeds=(7, 8)))).set_index("cell")
    names = [cell.name for cell in grid(experiment)]
    assert list(rows.index) == [*names, *(f"tuning/{name}" for name in names)]
    assert rows.loc[names, "runs"].tolist() == [3, 3]
    assert rows["runs"].tolist()[2:] == [4, 4]


def test_a_network_is_traced_once_for_all_cells_that_have_it(experiment, monkeypatch):
    traced, cost = [], Cell.cost

    def counted(cell, dataset):
        traced.append(cell.activation.name)
        return cost(cell, dataset)

    monkeypatch.setattr(Cell, "cost", counted)
    asked = replace(experiment, axes=(("settings.steps", (2, 3)),), tuning=Tuning((1e-3, 1e-2), seeds=(7, 8)))
    assert len(ablations.describe(asked)) == 8
    assert sorted(traced) == ["gelu", "swiglu"]
