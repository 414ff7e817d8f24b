"""Damaged files, full disks and changed questions: one sentence that says what to do, and doing it helps."""

import errno
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from bigram import Bigram
from marks import slow_but

import ablations
from lab.experiment.experiment import Experiment, grid
from lab.files import atomic
from lab.results import environment
from lab.results.results import read
from lab.runner import dispatch, plan
from lab.tasks.language import CausalLanguage
from lab.training import checkpoints, runs
from lab.training.settings import Hyperparameters, Settings

STATE = {"kernel": np.arange(12.0, dtype=np.float32).reshape(3, 4), "count": np.array([1, 2, 3])}
FULL = (  # what TensorStore says then
    'RESOURCE_EXHAUSTED: Error writing "a/c/0" in OCDBT database: Failed to write 535697 bytes to file 26: '
    "No space left on device [os_error_code='28']"
)


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    """An experiment, the same for all tests here, so that it is trained once."""
    text = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    text.write_text("alpha beta gamma delta epsilon " * 500)
    return Experiment(
        name="damaged",
        question="What survives?",
        task=CausalLanguage(data=f"text:{text}", context=8, evaluation_windows=8),
        model=Bigram(),
        activations=("gelu", "relu"),
        seeds=(0, 1),
        settings=Settings(steps=3, batch_size=4, evaluate_every=1, checkpoint_every=1),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Figures, half a second each, are not drawn."""
    monkeypatch.setattr("lab.report.report.svg", lambda figure, title: "<svg></svg>")


@pytest.fixture(scope="module")
def finished(question, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished") / "results"
    ablations.run(question, directory, quiet=True)
    return directory


@pytest.fixture
def directory(finished, tmp_path):
    """Finished results of one's own."""
    return Path(shutil.copytree(finished, tmp_path / "results"))


@pytest.fixture
def command(question, monkeypatch, capsys):
    """Runs a command on the question; gives its exit code and what it wrote to stderr."""

    def command(name, *arguments, asked=question):
        monkeypatch.setattr("lab.experiment.library.find", lambda _: asked)
        capsys.readouterr()
        code = ablations.main([name, *map(str, arguments)])
        return code, capsys.readouterr().err

    return command


def table(directory):
    rows = ablations.load(directory)
    columns = ["cell", "learning_rate", "seed", "step", "split", "metric"]
    return rows.sort_values(columns).reset_index(drop=True)


def equal(left, right):
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def cut(path):
    """Truncates a file in the middle."""
    os.truncate(path, path.stat().st_size // 2)


def first(directory, pattern):
    return sorted(directory.glob(pattern))[0]


def refused(result, *words):
    code, said = result
    assert code == 2
    *finished, sentence = said.splitlines()
    assert all("validation loss" in line for line in finished)
    assert sentence.startswith("ablations: ")
    for word in words:
        assert str(word) in sentence


def done(result):
    code, said = result
    assert code == 0, said


@pytest.mark.parametrize(
    "pattern",
    slow_but(
        ["experiment.json", "cells/*/*/metrics.parquet"],
        [
            "experiment.json",
            "cells/*/cell.json",
            "cells/*/*/runs.json",
            "cells/*/*/environment.json",
            "cells/*/*/metrics.parquet",
            "cells/*/*/timing.parquet",
            "cells/*/*/examples.parquet",
        ],
    ),
)
def test_a_damaged_file_is_named_and_made_again_once_it_is_deleted(directory, finished, command, pattern):
    path = first(directory, pattern)
    cut(path)
    refused(command("report", directory), path, "is damaged", "delete it")
    path.unlink()
    done(command("run", "damaged", "--out", directory))
    equal(table(directory), table(finished))
    assert path.exists()


@pytest.mark.parametrize("pattern", ["looks.jsonl", "cells/*/*/examples.parquet"])
def test_a_damaged_file_of_the_comparison_is_no_absent_comparison(directory, command, pattern):
    before, path = (directory / "report.html").read_bytes(), first(directory, pattern)
    cut(path)
    for words in (("compare", directory), ("report", directory), ("report", directory, directory)):
        refused(command(*words), path, "is damaged")
    refused(command("run", "damaged", "--out", directory), path, "is damaged")
    assert (directory / "report.html").read_bytes() == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(directory, finished, command, monkeypatch):
    wave = first(directory, "cells/*/runs-*")
    newest = wave / "checkpoints" / "3"
    (wave / "done").unlink()
    for path in newest.glob("state/**/d/*"):
        cut(path)
    refused(command("run", "damaged", "--out", directory), newest, "is damaged", "delete it")
    shutil.rmtree(newest)
    monkeypatch.setattr(runs.Program, "init", None)  # it must not begin anew
    done(command("run", "damaged", "--out", directory))
    equal(table(directory), table(finished))


@pytest.mark.slow
def test_what_a_truncated_checkpoint_gives_is_refused_or_right(tmp_path):
    checkpoints.save(tmp_path / "whole", 1, STATE, [1, 2])
    paths = [path for path in (tmp_path / "whole" / "1").rglob("*") if path.is_file()]
    caught = 0
    for path in paths:
        damaged = tmp_path / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", damaged)
        cut(damaged / path.relative_to(tmp_path / "whole"))
        try:
            state, record = checkpoints.restore(damaged, 1, STATE)
        except ValueError as error:
            if f"checkpoint {damaged / '1'} is damaged" not in str(error):
                raise
            caught += 1
            continue
        assert record == [1, 2]
        for name in STATE:
            np.testing.assert_array_equal(state[name], STATE[name])
    assert caught >= 6


def test_reads_that_orbax_abandons_leave_no_trace_but_other_errors_do(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    checkpoints._ignore_abandoned_reads.__wrapped__()
    for message in ("Event loop is closed", "disk on fire"):
        sys.unraisablehook(SimpleNamespace(object=None, exc_value=RuntimeError(message)))
    assert [str(one.exc_value) for one in shown] == ["disk on fire"]


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path):
    checkpoints.save(tmp_path, 1, STATE, [])
    for other in ({**STATE, "count": np.zeros(4, int)}, {"kernel": STATE["kernel"]}, {**STATE, "more": np.zeros(3)}):
        with pytest.raises(ValueError, match="checkpoint"):
            checkpoints.restore(tmp_path, 1, other)


def test_the_newest_two_checkpoints_stay_and_leftovers_go(tmp_path):
    (tmp_path / "9.orbax-checkpoint-tmp").mkdir()
    for step in (1, 2, 10):
        checkpoints.save(tmp_path, step, STATE, [])
    assert checkpoints.steps(tmp_path) == [2, 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "2"]


@pytest.mark.slow
def test_a_full_disk_at_any_write_loses_nothing(directory, question, command, monkeypatch, tmp_path):
    more = replace(question, activations=("gelu", "relu", "silu"))
    before, replace_file = table(directory), os.replace
    for full in (
        "experiment.json",
        "cell.json",
        "runs.json",
        "checkpoints",
        "metrics.parquet",
        "report.html",
    ):

        def replaced(source, target, full=full):
            if Path(target).name == full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace_file(source, target)

        def save(path, *_):
            raise ValueError(FULL)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replaced)
            if full == "checkpoints":
                patch.setattr(checkpoints.ocp, "save_checkpointables", save)
            refused(command("run", "damaged", "--out", directory, asked=more), "No space left on device", full)
        equal(table(directory).query("activation != 'silu'").reset_index(drop=True), before)
    done(command("run", "damaged", "--out", directory, asked=more))
    ablations.run(more, tmp_path / "undisturbed", quiet=True)
    equal(table(directory), table(tmp_path / "undisturbed"))


def test_results_that_cannot_be_written_are_refused_before_training(tmp_path, command, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(runs, "Program", None)
    refused(command("run", "damaged", "--out", tmp_path / "file" / "below"), tmp_path / "file")


@pytest.mark.parametrize(
    ("path", "value"),
    [("settings.steps", 4), ("model.width", 16), ("task.context", 4)],
    ids=lambda value: str(value),
)
def test_another_question_under_the_same_name_is_refused(directory, question, command, path, value):
    part, field = path.split(".")
    was = getattr(getattr(question, part), field)
    changed = replace(question, **{part: replace(getattr(question, part), **{field: value})})
    refused(command("run", "damaged", "--out", directory, asked=changed), f"{path} {was}, not {value}", "--out")


def test_runs_on_other_data_are_neither_completed_nor_compared(directory, question, command):
    path = first(directory, "cells/relu-*/*/environment.json")
    cell, (made,) = path.parents[1], atomic.read_json(path)
    splits = {**made["data"]["splits"], "train": {"bytes": 7, "sha256": "c0ffee"}}
    atomic.write_json(path, [{**made, "data": {**made["data"], "splits": splits}}])
    asked = replace(question, activations=("gelu", "silu"))
    before = sorted(directory.rglob("*"))
    refused(command("run", "damaged", "--out", directory, asked=asked), cell, "splits.train.bytes 7, not ", "--out")
    assert sorted(directory.rglob("*")) == before
    refused(command("run", "damaged", "--out", directory), cell)
    longer = replace(question, task=replace(question.task, context=9))
    for cells, retrain in ((grid(question), True), (grid(longer), False)):  # made again; another task
        plan.check_data(cells, directory, dispatch.load, retrain)
    with pytest.raises(ValueError, match="was trained on other data"):
        plan.check_data(grid(asked), directory, dispatch.load, True)


def test_a_folder_of_something_else_is_left_alone(question, tmp_path, command):
    (tmp_path / "thesis.tex").write_text("")
    refused(command("run", "damaged", "--out", tmp_path), tmp_path, "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_a_killed_runner_just_made_is_no_foreign_one(question, tmp_path):
    for name in ("lock", ".experiment.json.abc.tmp"):
        (tmp_path / name).write_text("")
    plan.prepare(question, tmp_path, "ablations run damaged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["experiment.json", "lock"]


@pytest.mark.slow
def test_a_grown_grid_trains_only_what_is_missing(directory, question, command, monkeypatch):
    before, trained = table(directory), []
    init = runs.Program.__init__

    def counted(self, model, task, settings, wave, **rest):
        trained.append((model.activation.name, len(wave)))
        init(self, model, task, settings, wave, **rest)

    monkeypatch.setattr(runs.Program, "__init__", counted)
    grown = replace(question, activations=("gelu", "silu"), seeds=(0, 1, 2), learning_rates=(1e-2, 2e-2))
    done(command("run", "damaged", "--out", directory, asked=grown))
    assert trained == [("gelu", 4), ("silu", 6)]
    after = table(directory)
    runs_of = after.groupby(["activation", "learning_rate"])["seed"].nunique()
    assert runs_of.to_dict() == {
        ("gelu", 0.01): 3,
        ("gelu", 0.02): 3,
        ("relu", 0.01): 2,
        ("silu", 0.01): 3,
        ("silu", 0.02): 3,
    }
    old = after.query("activation != 'silu' and learning_rate == 0.01 and seed < 2").reset_index(drop=True)
    equal(old[before.columns], before)
    assert json.loads((directory / "experiment.json").read_text())["seeds"] == [0, 1, 2]
    trained.clear()
    done(command("run", "damaged", "--out", directory))  # the small question again
    assert trained == []


@pytest.mark.slow
def test_results_of_another_commit_are_used_with_a_warning_and_retrained_on_demand(
    directory, finished, command, monkeypatch
):
    for module in (plan, environment):
        monkeypatch.setattr(module, "commit", lambda: "beef")
    for path in directory.glob("cells/*/*/environment.json"):
        atomic.write_json(path, [{**made, "commit": "cafe"} for made in atomic.read_json(path)])
    with monkeypatch.context() as patch:
        patch.setattr(runs, "Program", None)
        code, said = command("run", "damaged", "--out", directory)
    assert code == 0
    assert "cafe" in said
    assert "beef" in said
    code, said = command("run", "damaged", "--out", directory, "--retrain")
    assert code == 0
    assert "cafe" not in said
    assert {commit for cell in read(directory).cells for commit in cell["commits"]} == {"beef"}
    equal(table(directory), table(finished))


def test_runs_of_two_versions_of_jax_are_told_by_run_comparison_and_report(directory, command, monkeypatch):
    monkeypatch.setattr(runs, "Program", None)  # nothing is trained again
    path = first(directory, "cells/gelu-*/*/environment.json")
    (made,) = atomic.read_json(path)
    now = made["versions"]["jax"]
    atomic.write_json(path, [{**made, "versions": {**made["versions"], "jax": "0.0.1"}}, made])
    code, said = command("run", "damaged", "--out", directory)
    assert code == 0
    assert f"made with jax 0.0.1, this is {now}" in " ".join(said.split())
    assert any("0.0.1" in sentence and now in sentence for sentence in ablations.compare(directory).cautions)
    assert "0.0.1" in (directory / "report.html").read_text().partition("What was run")[2]
