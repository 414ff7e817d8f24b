"""Several processes make what a single one makes, and the first alone writes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refusals import refused

from lab.training.devices import distributed

SCRIPT = """
import sys

import jax

jax.config.update("jax_disable_most_optimizations", True)

import ablations
from lab.experiment.experiment import Experiment
from models.transformer import Transformer
from lab.tasks.language import CausalLanguage
from lab.training.devices import distributed
from lab.training.settings import Hyperparameters, Settings

corpus, out, data_on = sys.argv[1:]
experiment = Experiment(
    name="tiny",
    question="Which of two?",
    task=CausalLanguage(data=corpus, context=8, evaluation_windows=8),
    model=Transformer(context=8, d_model=8, n_layers=1, n_heads=2),
    activations=("gelu", "relu"),
    seeds=(0, 1, 2),
    settings=Settings(steps=4, batch_size=4, evaluate_every=2, checkpoint_every=1),
    hyperparameters=Hyperparameters(learning_rate=1e-2),
)
distributed.join()
if not distributed.first():  # whatever would write fails here
    def refuse(*arguments):
        raise AssertionError(f"a process that is not the first writes {arguments}")
    import lab.files.atomic
    lab.files.atomic.writing = refuse
found = ablations.run(experiment, out, data_on=data_on)
print(jax.process_index(), jax.process_count(), jax.device_count(), len(found.rows))
"""


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("localhost", 0))
        return held.getsockname()[1]


@pytest.fixture
def run(tmp_path, corpus):
    """Runs the experiment in so many processes, with two devices each; gives the results' folder."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def run(processes: int, data_on: str = "device") -> Path:
        out, address = tmp_path / f"{processes}-{data_on}", f"localhost:{free_port()}"
        root = Path(__file__).parents[2]
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"}
        environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        if processes > 1:
            environment |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(processes)}
        started = [
            subprocess.Popen(
                [sys.executable, script, corpus, out, data_on],
                env={**environment, "JAX_PROCESS_ID": str(index)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(processes)
        ]
        try:
            said = [process.communicate(timeout=900) for process in started]
        finally:
            for process in started:
                process.kill()
        assert [process.returncode for process in started] == [0] * processes, said
        assert [out.splitlines()[-1].split()[:3] for out, _ in said] == [
            [str(index), str(processes), str(2 * processes)] for index in range(processes)
        ]
        return out

    return run


def curves(directory: Path) -> np.ndarray:
    table = pd.concat([pd.read_parquet(path) for path in sorted(directory.glob("cells/*/*/metrics.parquet"))])
    return table.sort_values(["seed", "step", "split", "metric", "value"])["value"].to_numpy()


@pytest.mark.slow
def test_two_processes_make_what_one_makes(run):
    one, two, read_ahead = run(1), run(2), run(2, "host")
    np.testing.assert_allclose(curves(two), curves(one), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(curves(read_ahead), curves(one), rtol=2e-5, atol=2e-5)
    assert (two / "report.html").exists()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, ("JAX_NUM_PROCESSES", "''")),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "x"}, ("JAX_PROCESS_ID", "'x'")),
    ],
)
def test_a_wrong_environment_is_refused(monkeypatch, variables, words):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with refused(*words):
        distributed.join()


@pytest.mark.parametrize(
    ("variables", "joins"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}, False),  # the script of a job, not a step
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
    ],
)
def test_what_an_environment_tells(monkeypatch, variables, joins):
    called = []
    monkeypatch.setattr("jax.distributed.initialize", lambda **told: called.append(told))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    distributed.join()
    assert called == [{}] * joins


def test_alone_the_first_does_it():
    assert distributed.first()
    assert distributed.on_process_zero(lambda: (1, 2)) == (1, 2)
