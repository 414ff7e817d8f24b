"""TensorBoard files hold the recorded curves, each point once, however often they are written."""

import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
import synthetic

import ablations
from lab.experiment.experiment import grid
from lab.results.results import read
from lab.runner import dispatch, plan, tracking
from lab.training.devices.placement import Placement

pytest.importorskip("tensorboardX")
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c


def results(directory, **grid):
    found = synthetic.results(synthetic.rows(activations=("gelu", "swiglu"), seeds=(0, 1), **grid), directory)
    return replace(found, experiment={**found.experiment, "created": "2026-01-02T03:04:05+00:00"})


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def events(path):
    """The events of a file, its checksums checked."""
    data, found = path.read_bytes(), []
    while data:
        length, check = struct.unpack("<QI", data[:12])
        record, (check_record,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (check, check_record) == (masked_crc32c(data[:8]), masked_crc32c(record))
        found.append(Event.FromString(record))
        data = data[16 + length :]
    return found


def points(path):
    return [(event.step, value.tag, value.simple_value) for event in events(path) for value in event.summary.value]


def recorded(rows):
    tags = rows["split"] + "/" + rows["metric"]
    return list(zip(rows["step"], tags, np.float32(rows["value"]).tolist(), strict=True))


def test_event_files_hold_the_rows_of_their_runs(tmp_path):
    found = results(tmp_path)
    folder = tracking.write(found)
    assert [path.parent.relative_to(folder).as_posix() for path in files(folder)] == [
        "gelu-1a2b3c4d/seed-0",
        "gelu-1a2b3c4d/seed-1",
        "swiglu-1a2b3c4d/seed-0",
        "swiglu-1a2b3c4d/seed-1",
    ]
    own = found.rows[(found.rows["activation"] == "swiglu") & (found.rows["seed"] == 1)]
    assert sorted(points(files(folder)[3])) == sorted(recorded(own))


def test_a_file_voids_the_earlier_ones_and_tells_the_time_of_training(tmp_path):
    version, start, *curve = events(files(tracking.write(results(tmp_path)))[0])
    assert version.file_version == "brain.Event:2"
    assert (start.session_log.status, start.step) == (SessionLog.START, 0)
    times = np.array([event.wall_time for event in curve]) - version.wall_time
    assert times[0] == 0
    assert times[-1] == pytest.approx(6 + 2 * synthetic.seconds("gelu"))  # compiling, then two runs
    assert (np.diff(times) > 0).all()


def test_writing_again_changes_nothing_and_leaves_nothing_behind(tmp_path):
    found = results(tmp_path)
    half = replace(found, rows=found.rows[found.rows["step"] <= 1000])
    first = files(tracking.write(half))
    complete = files(tracking.write(found))
    assert [path.parent for path in complete] == [path.parent for path in first]
    assert all(new.name > old.name for new, old in zip(complete, first, strict=True))
    before = [(path, path.stat().st_mtime_ns) for path in complete]
    tracking.write(found)
    assert [(path, path.stat().st_mtime_ns) for path in files(tmp_path)] == before


def test_traced_axes_that_vary_name_the_run(tmp_path):
    tracking.write(results(tmp_path))
    found = results(tmp_path, learning_rates=(1e-3, 3e-3))
    found.experiment["axes"].append("learning_rate")
    folder = tracking.write(found)
    assert {path.parent.name for path in files(folder)} == {
        f"seed-{seed}_learning_rate-{rate}" for seed in (0, 1) for rate in (0.001, 0.003)
    }


def test_a_diverged_run_is_shown_with_its_nan(tmp_path):
    found = results(tmp_path)
    path = files(tracking.write(replace(found, rows=synthetic.diverge(found.rows, "gelu", 0, 1500))))[0]
    last = {tag: value for step, tag, value in points(path) if step >= 1500}
    assert np.isnan(last["validation/loss"])
    assert last["train/diverged"] == 1


@pytest.mark.slow
def test_a_resumed_run_has_each_point_once(experiment, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def kill(cell, step, rows):
        if step > 4:
            raise Killed

    monkeypatch.setattr(tracking, "SECONDS", -1.0)  # look after every evaluation
    experiment = replace(experiment, activations=("gelu",))
    out, cells = tmp_path / "out", grid(experiment)
    plan.prepare(experiment, out, "")
    with pytest.raises(Killed):
        dispatch.dispatch(cells, out, Placement("map"), False, tracking.tracked(kill, out))
    before = files(out / "tensorboard")
    assert [max(step for step, _, _ in points(path)) for path in before] == [2, 2, 2]
    dispatch.dispatch(cells, out, Placement("map"), False, tracking.tracked(lambda *evaluation: None, out))
    found = read(out)
    after = files(tracking.write(found))
    assert len(after) == 3
    assert sorted(points(after[1])) == sorted(recorded(found.rows[found.rows["seed"] == 1]))


def test_without_the_extra_one_sentence_says_what_to_install(experiment, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match=r"pip install 'activation-ablations\[track\]'"):
        ablations.run(experiment, tmp_path / "out", track=True, quiet=True)
    assert not (tmp_path / "out").exists()
