"""A pool of many runs of the quickstart, each measured on all of validation: what its ruler costs and what it tells.

Command:  python -m benchmarks.pool [--out results/pool]
Cost:     about 10 minutes on 2 cores of an AMD EPYC; killed and started again, it goes on
Makes:    benchmarks/results/pool.parquet, a row a run (`table`)

A run is trained as the quickstart does it, and evaluated on the windows of the curve, on those that
`settings.final_evaluation` takes, of some seeds also on every window of validation; on the second also at step 0 and
with averages of its weights.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.quickstart import experiment
from lab.experiment.experiment import Cell, grid
from lab.results.tables import write_table
from lab.tasks.task import final_batches
from lab.training.devices.execution import Execution
from lab.training.evaluation import Batches
from lab.training.runs import Program, use_all_cores, use_compilation_cache
from lab.training.step import State

ARMS = {"gelu": 64, "swiglu": 64, "relu2": 32, "geglu": 32, "relu": 32}
"""Activation and its number of seeds at the quickstart's learning rate."""
RATES = {3e-3: ARMS, 6e-3: dict.fromkeys(ARMS, 16)}
WHOLE = 8  # seeds that are evaluated on every window
TOGETHER = 8  # seeds
EVERY = 5  # steps between two weights that enter an average
EMA = {"ema_20": 20, "ema_60": 60}
"""Exponential moving averages of the weights, and the steps that they look back."""
LAST = {"last_30": 30, "last_75": 75}
"""Plain averages of the weights, and over how many of the last steps."""
TABLE = Path(__file__).parent / "results" / "pool.parquet"


def main() -> None:
    """Trains what is missing of the pool, and writes its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/pool"), help="folder of the windows' losses")
    options = parser.parse_args()
    use_all_cores()
    use_compilation_cache()
    for rate, cell in cells():
        first = cell.runs[0].seed
        path = options.out / f"{cell.activation.name}-{rate:g}-{first}.parquet"
        if not path.exists():
            write_table(path, trained(cell, whole=first < WHOLE))
            print(path, flush=True)
    write_table(TABLE, table(windows(options.out)))


def cells() -> Iterator[tuple[float, Cell]]:
    """Learning rate and cell of each part of the pool."""
    for rate, arms in RATES.items():
        of_rate = replace(experiment, hyperparameters=replace(experiment.hyperparameters, learning_rate=rate))
        for first in range(0, max(arms.values()), TOGETHER):
            some, seeds = tuple(name for name in arms if first < arms[name]), tuple(range(first, first + TOGETHER))
            yield from ((rate, cell) for cell in grid(replace(of_rate, activations=some, seeds=seeds)))


def trained(cell: Cell, whole: bool) -> pd.DataFrame:
    """A row for each kind of evaluation and window: evaluation, document, tokens, and the loss of each seed as a
    column."""
    dataset = cell.task.load()
    arrays, size = dataset.arrays["validation"], cell.settings.batch_size
    program = Program(
        cell.model, cell.task, cell.settings, cell.runs, dataset, Execution.choose("auto", len(cell.runs))
    )
    batches = {
        "curve": program.evaluation.curve,
        "final": program.evaluation.final["validation"],
        "whole": Batches.of(final_batches(cell.task, arrays, size, len(arrays["tokens"]))),
    }
    program.evaluation = replace(program.evaluation, final=batches)
    state = program.init()
    averages: dict[str, Any] = dict.fromkeys([*EMA, *LAST])
    parts = [measured(program, cell, "initial", "final", state)]
    for step in range(0, cell.settings.steps, EVERY):
        state, _ = program.train_interval(state, step, EVERY)
        averages = averaged(averages, state.parameters, cell.settings.steps - step - EVERY)
    parts += [measured(program, cell, name, name, state) for name in ("curve", "final", *["whole"] * whole)]
    for name, parameters in averages.items():
        parts.append(measured(program, cell, name, "final", replace(state, parameters=parameters)))
    return pd.concat(parts, ignore_index=True)


def averaged(averages: dict[str, Any], parameters: Any, left: int) -> dict[str, Any]:
    """The averages with the weights of one more step, `left` steps before the last."""
    found = {}
    for name, steps in EMA.items():
        found[name] = _mixed(averages[name], parameters, 1 - np.exp(-EVERY / steps))
    for name, steps in LAST.items():
        index = (steps - left) // EVERY  # 1 at the first that counts
        found[name] = averages[name] if index < 1 else _mixed(averages[name], parameters, 1 / index)
    return found


@jax.jit
def _mixed(average: Any, new: Any, share: float) -> Any:
    """A copy of the new values, since training uses them up, where there is no average yet."""
    if average is None:
        return jax.tree.map(jnp.copy, new)
    return jax.tree.map(lambda old, leaf: old + share * (leaf - old), average, new)


def measured(program: Program, cell: Cell, name: str, which: str, state: State) -> pd.DataFrame:
    """The losses of every run on every window of some batches, under a name."""
    loss = program.evaluate_last(state, which)[1]["loss"]
    columns = {f"{run.seed}": values for run, values in zip(cell.runs, loss.values, strict=True)}
    return pd.DataFrame({"evaluation": name, "document": loss.document, "tokens": loss.weight, **columns})


def windows(folder: Path) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Arm, learning rate and losses of every file of a pool."""
    for path in sorted(folder.glob("*.parquet")):
        arm, rate, _ = path.stem.split("-")
        yield arm, float(rate), pd.read_parquet(path)


def table(pool: Iterator[tuple[str, float, pd.DataFrame]]) -> pd.DataFrame:
    """A row a run: activation, learning_rate, seed, its validation loss in each evaluation, nan where there was none
    (`curve`, `final`, `whole`, `initial`, and with averages of the weights), and in each document of `final`."""
    rows: list[dict[str, Any]] = []
    for arm, rate, losses in pool:
        final = losses[losses["evaluation"] == "final"]
        for seed in [column for column in losses.columns if column.isdigit()]:
            of_evaluations = {str(name): mean(one, seed) for name, one in losses.groupby("evaluation")}
            of_documents = {f"document_{number}": mean(one, seed) for number, one in final.groupby("document")}
            rows.append({"activation": arm, "learning_rate": rate, "seed": int(seed), **of_evaluations, **of_documents})
    found = pd.DataFrame(rows).sort_values(["learning_rate", "activation", "seed"], ignore_index=True)
    return found.astype(dict.fromkeys(list(found.columns[3:]), "float32"))


def mean(losses: pd.DataFrame, seed: str) -> float:
    """The loss a token."""
    return float(np.average(losses[seed].astype(float), weights=losses["tokens"]))


if __name__ == "__main__":
    main()
