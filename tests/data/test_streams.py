import importlib.util
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bigram import Bigram
from refusals import refused

from lab.data import streams
from lab.experiment.experiment import grid
from lab.results.cells import CellDirectory
from lab.tasks.language import CausalLanguage
from lab.training import reading, step
from lab.training.devices.execution import Execution
from lab.training.devices.placement import Placement
from lab.training.runs import Program
from lab.training.train import train

TASK = CausalLanguage(context=8, documents="masked")
SEEDS = (3, 0, 3, 2**32 - 1)


@pytest.fixture
def arrays(tmp_path):
    """A memory-mapped training text."""
    tokens = np.random.default_rng(0).integers(0, 257, 1000)
    streams.write(tmp_path / "train.npy", np.split(tokens, [10, 300]), np.dtype(np.uint16))
    return {"tokens": streams.read(tmp_path / "train.npy")}


@pytest.fixture
def cell(experiment):
    cell = grid(experiment)[0]
    return replace(cell, task=replace(cell.task, documents="packed"), model=Bigram(vocab_size=257))


# Token files


@pytest.mark.parametrize("sizes", [[], [0], [5], [3, 0, 1000]])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_what_is_written_in_pieces_is_read_as_one_array(sizes, dtype, tmp_path):
    pieces = [np.arange(size) % 200 for size in sizes]
    facts = streams.write(tmp_path / "deep" / "tokens.npy", iter(pieces), np.dtype(dtype))
    found = streams.read(tmp_path / "deep" / "tokens.npy")
    np.testing.assert_array_equal(found, np.concatenate([[], *pieces]))
    assert found.dtype == dtype
    assert facts["tokens"] == sum(sizes)
    assert not found.flags.writeable


def test_an_interrupted_file_does_not_exist(tmp_path):
    def pieces():
        yield np.arange(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streams.write(tmp_path / "tokens.npy", pieces(), np.dtype(np.uint8))
    assert not list(tmp_path.iterdir())


def test_nothing_in_a_file_is_executed(tmp_path):
    np.save(tmp_path / "tokens.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"tokens\.npy is damaged .*; remove the folder"):
        streams.read(tmp_path / "tokens.npy")


# Windows of batches


def read(arrays, begin, end, length=4, seeds=SEEDS):
    """All batches of some steps: fields [seeds, steps, ...]."""
    windows = list(reading.windows(TASK, arrays, 5, seeds, begin, end, length))
    assert all(field.shape[:2] == (len(seeds), length) for *_, window in windows for field in window.values())
    assert [first for first, *_ in windows] == list(range(begin, end, length))
    kept = [jax.tree.map(lambda field, n=count: field[:, :n], window) for _, count, window in windows]
    return jax.tree.map(lambda *fields: np.concatenate(fields, axis=1), *kept)


def test_windows_hold_the_batches_of_the_device(arrays):
    found = read(arrays, 0, 11)
    on_device = jax.tree.map(jnp.asarray, arrays)
    batches = jax.vmap(lambda seed: jax.vmap(lambda step: TASK.batch(on_device, seed, step, 5))(jnp.arange(11)))
    expected = batches(jnp.array(SEEDS, jnp.uint32))
    assert found.keys() == expected.keys() == {"tokens", "segments"}
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(np.asarray, expected))


def test_reading_begins_at_any_step(arrays):
    whole = read(arrays, 0, 20)
    for begin, end, length in ((7, 20, 4), (19, 20, 3), (5, 9, 100)):
        part = read(arrays, begin, end, length)
        jax.tree.map(np.testing.assert_array_equal, part, jax.tree.map(lambda field: field[:, begin:end], whole))  # noqa: B023


def test_a_host_reads_the_batches_of_its_own_seeds_alone(arrays, monkeypatch):
    asked = []
    batch = CausalLanguage.batch
    monkeypatch.setattr(
        CausalLanguage,
        "batch",
        lambda self, a, seed, step, size: asked.append(seed.ravel().tolist()) or batch(self, a, seed, step, size),
    )
    whole, part = read(arrays, 0, 3), read(arrays, 0, 3, seeds=SEEDS[:1])
    np.testing.assert_array_equal(part["tokens"], whole["tokens"][:1])
    assert asked[:3] == [sorted(set(SEEDS))] * 3
    assert asked[3:] == [[SEEDS[0]]] * 3


def test_windows_are_as_long_as_the_memory_allows(arrays, monkeypatch):
    step_bytes = 4 * 5 * (9 * 2 + 8 * 4)
    for bytes_allowed, steps in ((1, 1), (step_bytes * 7 + 5, 7), (2**40, 50)):
        monkeypatch.setattr(reading, "WINDOW_BYTES", bytes_allowed)
        assert reading.steps_at_once(TASK, arrays, 5, runs=4, interval=50) == steps


# Training


def trained(cell, data_on):
    """States, metrics and where the data was, of five steps on two devices."""
    runs = list(cell.runs)
    program = Program(cell.model, cell.task, cell.settings, runs, cell.task.load(), Execution("map", 2), data_on)
    state, metrics = program.train_interval(program.init(), 0, 5)
    return (program.host(state), metrics), program.description["data_on"]


def test_a_streamed_run_equals_the_resident_one(cell, monkeypatch):
    monkeypatch.setattr(reading, "steps_at_once", lambda *_: 2)
    resident, streamed = trained(cell, "device"), trained(cell, "host")
    chex.assert_trees_all_close(streamed[0], resident[0], rtol=1e-6, atol=1e-7)
    assert (streamed[1], resident[1]) == ("host", "device")


@pytest.mark.slow
def test_streaming_compiles_one_program_and_resumes_anywhere(cell, tmp_path, monkeypatch):
    settings = replace(cell.settings, steps=5, evaluate_every=3, checkpoint_every=1)  # the last interval is shorter
    monkeypatch.setattr(reading, "steps_at_once", lambda *_: 2)
    counted = chex.assert_max_traces(step.train_interval, n=1)
    monkeypatch.setattr(step, "train_interval", counted)
    arguments = (cell.model, cell.task, settings, cell.runs)

    def interrupted(step, rows):
        if step == 5:
            raise KeyboardInterrupt

    train(*arguments, tmp_path / "whole", cell.task.load(), placement=Placement(data_on="host"))
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt):
        train(
            *arguments, tmp_path / "resumed", cell.task.load(), watch=interrupted, placement=Placement(data_on="host")
        )
    train(*arguments, tmp_path / "resumed", cell.task.load(), placement=Placement(data_on="host"))
    tables = [wave.metrics() for name in ("whole", "resumed") for wave in CellDirectory(tmp_path / name).waves()]
    assert len(tables) == 2
    chex.assert_trees_all_close(
        *(table.sort_values(["seed", "step", "split", "metric"])["value"].to_numpy() for table in tables), rtol=1e-6
    )


def test_data_lies_on_the_device_where_it_fits(arrays, monkeypatch):
    assert reading.place("auto", arrays) == "device"
    monkeypatch.setattr(reading, "capacity", lambda: arrays["tokens"].nbytes)
    assert reading.place("auto", arrays) == "host"
    assert reading.place("device", arrays) == "device"
    monkeypatch.undo()
    endless = {"tokens": np.broadcast_to(np.zeros(1, np.uint8), 2**31)}
    assert reading.place("auto", endless) == "host"
    with refused("data_on", "device", 2146435072):
        reading.place("device", endless)


def test_reading_without_grain_is_refused_at_once(arrays, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert reading.place("auto", arrays) == "device"
    with refused(2000, "grain"):
        reading.place("host", arrays)
