"""What is on the disk: files are whole or absent, locks die with their holder, waves say what is missing."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab.files import atomic
from lab.files.locks import lock
from lab.results.cells import CellDirectory, first_difference
from lab.results.environment import environment
from lab.results.results import _column, read

processes = multiprocessing.get_context("spawn")
IDENTITY = {"seed": 0.0, "learning_rate": 0.1}
ROWS = pd.DataFrame(
    [{**IDENTITY, "step": step, "split": "validation", "metric": "loss", "value": 1.0} for step in (0, 1)]
)
TIMING = pd.DataFrame([{"kind": "train", "runs": 1, "start_step": 0, "step": 1, "seconds": 1.0, "tokens": 8}])

QUESTION = {"baseline": "gelu", "metric": "loss", "split": "validation", "level": 0.95, "steps": 2, "seeds": [0, 1]}
PARTS = {
    "task": {"name": "t"},
    "model": {"name": "m"},
    "settings": {"steps": 2},
    "cost": {"parameters": 1, "flops_per_token": 1},
}


@pytest.mark.parametrize("lacking", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_flock_has_posix_locks_or_is_refused(tmp_path, monkeypatch, lacking):
    def absent(descriptor, how):
        raise OSError(lacking, os.strerror(lacking))

    monkeypatch.setattr(fcntl, "flock", absent)
    taken = []
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "lockf", lambda descriptor, how: taken.append(how))
        with lock(tmp_path / "lock") as held:
            assert held
    assert taken == [fcntl.LOCK_EX | fcntl.LOCK_NB]
    monkeypatch.setattr(fcntl, "lockf", absent)
    with pytest.raises(OSError, match="no locks") as error, lock(tmp_path / "lock"):
        pass
    assert error.value.filename == str(tmp_path / "lock")


def test_what_cannot_be_deleted_yet_is_a_leftover(tmp_path, monkeypatch):
    """As of a file that another process has open, on NFS."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "open").write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *arguments, **rest: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
        atomic.remove(tmp_path / "1")
    assert not (tmp_path / "1").exists()
    assert len(list(tmp_path.glob(atomic.LEFTOVERS))) == 1
    (tmp_path / "1").mkdir()
    atomic.remove(tmp_path / "1")  # the leftover is not in the way
    atomic.sweep(tmp_path.glob(atomic.LEFTOVERS))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, call):
    path = tmp_path / "file.json"
    atomic.write_json(path, "old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left on device: '.*file.json'"):
        atomic.write_json(path, "new")
    assert atomic.read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_json(tmp_path / "file.json", "new")
    assert not list(tmp_path.iterdir())


def test_a_file_written_in_pieces_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with atomic.writing(path) as file:
        file.write(b"____ be")
        assert not path.exists()
        file.seek(0)
        file.write(b"let!")
    assert path.read_bytes() == b"let! be"
    with pytest.raises(ZeroDivisionError), atomic.writing(path) as file:
        file.write(b"half" * (1 // 0))
    assert [each.read_bytes() for each in path.parent.iterdir()] == [b"let! be"]


def test_an_error_names_the_file_that_it_is_of(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"), atomic.writing(tmp_path / "new" / "file"):
        (tmp_path / "source").read_bytes()
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*new/file'"),
        atomic.writing(tmp_path / "new" / "file"),
    ):
        raise OSError(28, "No space left on device")
    assert not list((tmp_path / "new").iterdir())


def die_while_writing(path: Path) -> None:
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    atomic.write_json(path, "new")


def test_what_a_killed_writer_leaves_is_no_file_of_ours_and_is_swept(tmp_path):
    path = tmp_path / "file.json"
    atomic.write_json(path, "old")
    writer = processes.Process(target=die_while_writing, args=(path,))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert atomic.read_json(path) == "old"
    assert len(list(tmp_path.iterdir())) == 2
    atomic.sweep(tmp_path.glob(atomic.LEFTOVERS))
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_permissions_of_any_file(tmp_path):
    atomic.write_text(tmp_path / "ours", "")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_below_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/below/table\.json"):
        atomic.write_json(tmp_path / "file" / "below" / "table.json", 1)


def test_a_removed_folder_is_gone_in_one_step(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    atomic.write_json(folder / "file.json", 1)

    def killed(path, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        atomic.remove(folder)
    monkeypatch.undo()
    assert not folder.exists()
    atomic.sweep(tmp_path.glob(atomic.LEFTOVERS))
    assert not list(tmp_path.iterdir())


def hold(path: Path, held) -> None:
    with lock(path) as mine:
        assert mine
        held.set()
        time.sleep(60)


def test_a_lock_is_exclusive_and_dies_with_its_holder(tmp_path):
    held = processes.Event()
    holder = processes.Process(target=hold, args=(tmp_path / "lock", held))
    holder.start()
    assert held.wait(300)
    with lock(tmp_path / "lock") as mine:
        assert not mine
    holder.kill()
    with lock(tmp_path / "lock", wait=True) as mine:
        assert mine
    holder.join()


def test_waves_hold_only_what_is_missing(tmp_path):
    cell = CellDirectory(tmp_path)
    runs = [{"seed": float(seed)} for seed in range(4)]
    (first,) = cell.missing(runs[:2])
    first.start({})
    assert [wave.runs for wave in cell.missing(runs)] == [tuple(runs[:2]), tuple(runs[2:])]
    first.write(ROWS, TIMING)
    first.finish()
    assert [wave.runs for wave in cell.missing(runs)] == [tuple(runs[2:])]
    assert not cell.missing(runs[:2])


def test_a_wave_without_its_tables_is_not_done(tmp_path):
    (wave,) = CellDirectory(tmp_path).missing([IDENTITY])
    wave.start({})
    wave.write(ROWS, TIMING)
    assert not wave.done
    wave.finish()
    assert wave.done
    (wave.path / "timing.parquet").unlink()
    assert not wave.done


def test_a_wave_keeps_every_environment_it_was_made_in(tmp_path):
    (wave,) = CellDirectory(tmp_path).missing([IDENTITY])
    for made in ({"commit": "a"}, {"commit": "a"}, {"commit": "b"}):
        wave.start(made)
    assert wave.environments == [{"commit": "a"}, {"commit": "b"}]


def test_an_environment_says_what_a_result_was_made_with():
    made = environment({"device": "cpu"}, {"sha256": "0"})
    assert set(made) >= {"commit", "python", "versions", "platform", "processor", "device", "data"}
    assert made["versions"]["jax"]


def test_the_first_difference_is_named():
    assert first_difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 1}, "c": 2}) is None
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b 1, not 2"
    assert first_difference({}, {"new": 1}) == "new null, not 1"


def test_unfinished_results_are_read(tmp_path):
    """Of three cells one has curves, one has just started, and one has only been described."""
    atomic.write_json(tmp_path / "experiment.json", {"name": "e", "axes": ["activation"], **QUESTION})
    for name in ("a", "b", "c"):
        cell = CellDirectory(tmp_path / "cells" / name)
        cell.describe({"cell": name, "activation": name, "axes": {}, **PARTS})
        if name != "c":
            (wave,) = cell.missing([IDENTITY])
            wave.start({"commit": "x"})
        if name == "a":
            wave.write(ROWS, TIMING)
    found = read(tmp_path)
    assert set(found.rows["cell"]) == set(found.timing["cell"]) == {"a"}
    assert [cell["runs"] for cell in found.cells] == [1, 1, 0]
    assert list(found.rows.columns[:6]) == ["experiment", "cell", "task", "model", "activation", "seed"]


def test_values_of_an_axis_stay_what_they_are():
    lengths = [2, 1, 2]
    for values in ([None, 2, 4], ["a", None, "b"], [1, 2.5, True]):
        found = pd.DataFrame({"step": range(5)}).assign(axis=_column(values, lengths))["axis"]
        assert [type(value) for value in found[[0, 2, 3]]] == [type(value) for value in values]
    assert _column([1, 2, 3], lengths).dtype == np.int64
