"""A runner may be killed at any moment, or have company: the results are those of one that was left alone."""

import multiprocessing
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import chex
import jax
import pandas as pd
import pytest

import ablations
from lab.experiment.experiment import grid
from lab.experiment.library import find
from lab.results.results import Results, read
from lab.runner.plan import cell_directory
from lab.tasks.language import CausalLanguage
from lab.training import checkpoints, step

pytestmark = pytest.mark.slow

STEPS = 5
SOURCE = """
from bigram import Bigram
from lab.experiment.experiment import Experiment
from lab.tasks.language import CausalLanguage
from lab.training.settings import Settings

experiment = Experiment(
    name="tiny",
    question="Which of two?",
    task=CausalLanguage(data="{corpus}", context=8, evaluation_windows=8),
    model=Bigram(),
    activations=("gelu", "relu"),
    seeds=(0, 1, 2),
    learning_rates=(1e-2,),
    settings=Settings(steps={steps}, batch_size=4, evaluate_every=1, checkpoint_every=1),
)
"""

# A process forked from one that has imported everything starts at once; JAX has not started there, so a fork is safe.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["ablations", "lab.report.report", "chex", "pytest", "lab.runner.dispatch", "lab.training.train"]
)


def run(file: Path, out: Path, cache: Path) -> None:
    """What the processes do: `ablations run FILE --out OUT 2>> OUT.err`, with programs compiled fast and kept."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where pytest is a shell's background job
    os.dup2(os.open(f"{out}.err", os.O_CREAT | os.O_APPEND | os.O_WRONLY), 2)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    jax.config.update("jax_disable_most_optimizations", True)
    sys.exit(ablations.main(["run", str(file), "--out", str(out)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: tiny.py, an experiment, and whole, the results of a runner that was left alone."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "corpus.txt").write_text("alpha beta gamma delta epsilon " * 500)
    (folder / "tiny.py").write_text(SOURCE.format(corpus=f"text:{folder}/corpus.txt", steps=STEPS))
    finish(runner(folder, folder / "whole"))
    return folder


@pytest.fixture
def experiment(folder):
    return find(str(folder / "tiny.py"))


@pytest.fixture
def start(folder):
    """Starts `ablations run` on a directory of results."""
    started = []

    def start(out):
        started.append(runner(folder, out))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


def runner(folder: Path, out: Path):
    process = processes.Process(target=run, args=(folder / "tiny.py", out, folder / "cache"))
    process.start()
    return process


def finish(process) -> None:
    process.join()
    assert process.exitcode == 0


def rows(found: Results) -> pd.DataFrame:
    columns = ["cell", "seed", "step", "split", "metric"]
    return found.rows.sort_values(columns).reset_index(drop=True)


def weights(directory: Path, experiment) -> dict:
    """The states of all cells at the last step."""

    def state(cell):
        (wave,) = cell_directory(directory, cell).waves()
        arrays, n_runs = cell.task.load().arrays, len(wave.runs)
        init = partial(step.init, cell.model, cell.task, cell.settings)
        one = jax.eval_shape(init, 0, cell.runs[0].hyperparameters, arrays)
        many = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n_runs, *leaf.shape), leaf.dtype), one)
        return checkpoints.restore(wave.checkpoints, checkpoints.steps(wave.checkpoints)[-1], many)[0]

    return {cell.name: state(cell) for cell in grid(experiment)}


def files(directory: Path) -> set[Path]:
    """All files and folders, those inside a checkpoint excepted: some have random names."""
    found = {path.relative_to(directory) for path in directory.rglob("*")}
    return {path for path in found if "checkpoints" not in path.parts[:-2]}


def same(left: Path, right: Path, experiment) -> None:
    pd.testing.assert_frame_equal(rows(read(left)), rows(read(right)), check_exact=True)
    chex.assert_trees_all_equal(weights(left, experiment), weights(right, experiment))
    assert files(left) == files(right)


def check_readable(directory: Path) -> None:
    """A reader sees rows, or is told that there are none yet."""
    try:
        read(directory)
    except (FileNotFoundError, ValueError) as error:
        if "has no" not in str(error):
            raise


@pytest.mark.parametrize("kills", [20, 100])
def test_kills_at_random_moments_change_nothing(start, folder, experiment, tmp_path, kills):
    """`pytest -m slow tests/runner/test_kill.py` kills 20 and 100 times.

    One process after the other: multiprocessing asks after all its processes when it starts one, so a start in one
    thread can take the exit code that a join in another waits for.
    """
    clock = time.perf_counter()
    finish(start(tmp_path / "timed"))
    took, draw = time.perf_counter() - clock, random.Random(kills)
    killed = finished = 0
    while killed < kills:
        directory = tmp_path / f"killed-{finished}"
        process = start(directory)
        process.join(draw.uniform(0, took))
        process.kill()
        process.join()
        if process.exitcode == 0:
            same(directory, folder / "whole", experiment)
            finished += 1
        else:
            assert process.exitcode == -signal.SIGKILL
            check_readable(directory)
            killed += 1
    finish(start(directory))
    same(directory, folder / "whole", experiment)


def test_two_runners_share_the_work(start, folder, experiment, tmp_path):
    shared = tmp_path / "shared"
    both = [start(shared), start(shared)]
    for process in both:
        finish(process)
    same(shared, folder / "whole", experiment)
    trained = read(shared).timing.query("kind == 'train'")
    assert not trained.duplicated(["cell", "step"]).any()
    assert trained.groupby("cell").size().tolist() == [STEPS, STEPS]


def test_a_runner_killed_while_it_holds_a_cell_blocks_nobody(start, folder, experiment, tmp_path):
    out = tmp_path / "out"
    first = start(out)
    began(out)
    second = start(out)
    first.kill()
    finish(second)
    same(out, folder / "whole", experiment)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_runner_says_how_to_go_on(start, folder, experiment, tmp_path, number):
    out = tmp_path / "out"
    process = start(out)
    began(out)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 130
    said = (tmp_path / "out.err").read_text()
    assert said == "ablations: interrupted; the same command goes on from the last checkpoint\n"
    finish(start(out))
    same(out, folder / "whole", experiment)


def began(out: Path) -> None:
    """Waits for the first checkpoint; the cell is then locked and in training."""
    limit = time.monotonic() + 600
    while not any(out.glob("cells/*/*/checkpoints/*")):
        assert time.monotonic() < limit
        time.sleep(0.01)


def prepare(directory: Path) -> None:
    os.environ["TFDS_DATA_DIR"] = str(directory)
    stdlib = CausalLanguage(data="stdlib").load()
    (directory / "sha256").write_text(stdlib.provenance["sha256"])


def test_kills_while_a_corpus_is_prepared_change_nothing(tmp_path):
    def start(directory):
        process = processes.Process(target=prepare, args=(directory,))
        process.start()
        return process

    clock = time.perf_counter()
    finish(start(tmp_path / "whole"))
    took, draw = time.perf_counter() - clock, random.Random(0)
    for _ in range(3):
        process = start(tmp_path / "killed")
        process.join(draw.uniform(0.3, 1) * took)
        process.kill()
        process.join()
    finish(start(tmp_path / "killed"))
    assert (tmp_path / "killed" / "sha256").read_text() == (tmp_path / "whole" / "sha256").read_text()
