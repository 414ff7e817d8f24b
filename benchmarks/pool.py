"""A pool of many runs of the quickstart, each measured on all of validation: what its ruler costs and what it tells.

Command:  python -m benchmarks.pool [--seeds 64] [--out results/pool]
Cost:     about 15 minutes on 2 cores of an AMD EPYC; killed and started again, it goes on
Makes:    benchmarks/results/pool.parquet, a row a run (`table`)

A run is trained as the quickstart does it. Its last evaluation is on every window of validation; beside it, on the
windows that `settings.final_evaluation` takes, averages of its weights are evaluated, and the network at step 0.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments.quickstart import experiment
from lab.experiment.experiment import Cell, grid
from lab.results.tables import write_table
from lab.tasks.task import final_batches
from lab.training.evaluation import Batches
from lab.training.execution import Execution
from lab.training.runs import Program, use_all_cores, use_compilation_cache
from lab.training.step import State

ARMS = ("gelu", "swiglu", "relu2", "geglu", "relu")
TOGETHER = 8  # seeds
EVERY = 5  # steps between two weights that enter an average
EMA = {"ema_20": 20, "ema_60": 60}
"""Exponential moving averages of the weights, and the steps that they look back."""
LAST = {"last_30": 30, "last_75": 75}
"""Plain averages of the weights, and over how many of the last steps."""
SIZES = (64, 128, 256, 512, 1024, 2048)
TABLE = Path(__file__).parent / "results" / "pool.parquet"


def main() -> None:
    """Trains what is missing of the pool, and writes its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=64, help="seeds of every arm")
    parser.add_argument("--out", type=Path, default=Path("results/pool"), help="folder of the windows' losses")
    options = parser.parse_args()
    use_all_cores()
    use_compilation_cache()
    for first in range(0, options.seeds, TOGETHER):
        seeds = tuple(range(first, min(first + TOGETHER, options.seeds)))
        for cell in grid(replace(experiment, activations=ARMS, seeds=seeds)):
            path = options.out / f"{cell.activation.name}-{first}-{len(seeds)}.parquet"
            if not path.exists():
                write_table(path, trained(cell))
                print(path, flush=True)
    write_table(TABLE, table(windows(options.out)))


def trained(cell: Cell) -> pd.DataFrame:
    """A row for each kind of weights and window: weights, document, tokens, and the loss of each seed as a column."""
    dataset = cell.task.load()
    arrays, size = dataset.arrays["validation"], cell.settings.batch_size
    program = Program(
        cell.model, cell.task, cell.settings, cell.runs, dataset, Execution.choose("auto", len(cell.runs))
    )
    batches = {
        "all": Batches.of(final_batches(cell.task, arrays, size, 10**9)),
        "default": Batches.of(final_batches(cell.task, arrays, size, cell.settings.final_examples)),
    }
    program.evaluation = replace(program.evaluation, final=batches)
    state = program.init()
    averages: dict[str, Any] = dict.fromkeys([*EMA, *LAST])
    parts = [measured(program, cell, "initial", "default", state)]
    for step in range(0, cell.settings.steps, EVERY):
        state, _ = program.train_interval(state, step, EVERY)
        averages = averaged(averages, state.parameters, cell.settings.steps - step - EVERY)
    parts.append(measured(program, cell, "final", "all", state))
    for name, parameters in averages.items():
        parts.append(measured(program, cell, name, "default", replace(state, parameters=parameters)))
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


def _mixed(average: Any, new: Any, share: float) -> Any:
    if average is None or share == 1:
        return jax.tree.map(lambda leaf: leaf.copy(), new)
    return jax.tree.map(lambda old, leaf: old + np.float32(share) * (leaf - old), average, new)


def measured(program: Program, cell: Cell, weights: str, which: str, state: State) -> pd.DataFrame:
    """The losses of every run on every window of some batches."""
    loss = program.evaluate_last(state, which)[1]["loss"]
    columns = {f"{run.seed}": values for run, values in zip(cell.runs, loss.values, strict=True)}
    return pd.DataFrame({"weights": weights, "document": loss.document, "tokens": loss.weight, **columns})


def windows(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Arm and losses of every file of a pool."""
    for path in sorted(folder.glob("*.parquet")):
        yield path.stem.split("-")[0], pd.read_parquet(path)


def table(pool: Iterator[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """A row a run: activation, seed, its validation loss on so many windows that are spread evenly (`windows_64`, ...,
    `windows_all`), that of averages of its weights on `settings.final_examples` windows, and in each document."""
    rows = []
    for arm, losses in pool:
        final = losses[losses["weights"] == "final"]
        count = len(final)
        chosen = {f"windows_{size}": np.arange(size) * count // size for size in SIZES}
        chosen["windows_default"] = spread(experiment.settings.final_examples, count)
        chosen["windows_all"] = np.arange(count)
        for seed in [column for column in losses.columns if column.isdigit()]:
            row: dict[str, Any] = {"activation": arm, "seed": int(seed)}
            row |= {name: mean(final.iloc[index], seed) for name, index in chosen.items()}
            row |= {name: mean(one, seed) for name, one in losses.groupby("weights") if name != "final"}
            row |= {f"document_{number}": mean(one, seed) for number, one in final.groupby("document")}
            rows.append(row)
    found = pd.DataFrame(rows).sort_values(["activation", "seed"], ignore_index=True)
    return found.astype(dict.fromkeys(found.columns[2:], np.float32))


def spread(size: int, count: int) -> np.ndarray:
    """So many of `count` windows, as a task chooses them."""
    return np.arange(min(size, count)) * count // min(size, count)


def mean(losses: pd.DataFrame, seed: str) -> float:
    """The loss a token."""
    return float(np.average(losses[seed].astype(float), weights=losses["tokens"]))


if __name__ == "__main__":
    main()
