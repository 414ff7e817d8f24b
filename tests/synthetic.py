"""Results as an experiment leaves them, without training: loss curves drawn from seed effects and arm offsets."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lab.results.results import Results

STEPS = (0, 250, 500, 750, 1000, 1250, 1500, 1750, 2000)
OFFSETS = {"gelu": 0.0, "relu": 0.03, "swiglu": -0.02, "silu": 0.002, "geglu": -0.025}  # nats at the last step
TOKENS_PER_STEP = 8 * 256
BITS_PER_BYTE = 1 / np.log(2)  # a token a byte


def curve(activation: str, seed: int, learning_rate: float) -> np.ndarray:
    """Losses at STEPS: the seed's own effect is shared by all arms, which is why pairing helps."""
    shared = np.random.default_rng([seed, 1]).normal(0, 0.02)
    own = np.random.default_rng([seed, *activation.encode()]).normal(0, 0.004)
    offset = OFFSETS.get(activation, 0.01) + 0.05 * abs(np.log10(learning_rate / 1e-3))
    progress = np.array(STEPS) / STEPS[-1]
    return 1.4 + 2.8 * np.exp(-6 * progress) + (offset + own) * progress + shared


def rows(
    activations: Sequence[str] = tuple(OFFSETS),
    seeds: Sequence[int] = range(5),
    learning_rates: Sequence[float] = (1e-3,),
    axes: Mapping[str, Sequence] = {},
) -> pd.DataFrame:
    """Tidy rows for the whole grid: train and validation loss, and bits per byte."""
    records = []
    for activation, *setting in itertools.product(activations, *axes.values()):
        named = dict(zip(axes, setting, strict=True))
        cell = "-".join([activation, *map(str, setting), "1a2b3c4d"])
        for seed, rate in itertools.product(seeds, learning_rates):
            for step, loss in zip(STEPS, curve(activation, seed, rate), strict=True):
                run = {"experiment": "synthetic", "cell": cell, "task": "tiny_text", "model": "gpt2-tiny"}
                run |= {"activation": activation, **named, "seed": seed, "learning_rate": rate, "step": step}
                records += [
                    run | {"split": "train", "metric": "loss", "value": loss - 0.05},
                    run | {"split": "validation", "metric": "loss", "value": loss},
                    run | {"split": "validation", "metric": "bits_per_byte", "value": loss * BITS_PER_BYTE},
                ]
    return pd.DataFrame(records)


def diverge(table: pd.DataFrame, activation: str, seed: int, step: int) -> pd.DataFrame:
    """The same rows, in which one activation's run of a seed is nan from a step on, and marked there."""
    run = (table["activation"] == activation) & (table["seed"] == seed)
    table = table.assign(value=table["value"].mask(run & (table["step"] >= step)))
    mark = table[run & (table["step"] == step) & (table["split"] == "train")]
    return pd.concat([table, mark.assign(metric="diverged", value=1.0)], ignore_index=True)


def results(table: pd.DataFrame | None = None, directory: Path = Path("results/synthetic")) -> Results:
    """What reading the directory of such an experiment would give."""
    table = rows() if table is None else table
    runs = table.drop_duplicates(["cell", "seed", "learning_rate"]).groupby("cell", sort=False)
    return Results(
        directory=directory,
        experiment={
            "name": "synthetic",
            "question": "Do gated activations beat GELU at equal parameters?",
            "baseline": "gelu",
            "metric": "loss",
            "split": "validation",
            "level": 0.95,
            "axes": ["activation"],
            "steps": STEPS[-1],
            "seeds": sorted(table["seed"].unique().tolist()),
            "command": "ablations run synthetic",
        },
        cells=tuple(_cell(name, frame["activation"].iloc[0]) for name, frame in runs),
        rows=table,
        timing=pd.concat([_timing(name, frame["activation"].iloc[0], len(frame)) for name, frame in runs]),
    )


def seconds(activation: str) -> float:
    """Seconds of training a run."""
    return 13.2 if activation.endswith("glu") else 12.0


def _cell(name: str, activation: str) -> dict:
    gated = activation.endswith("glu")
    return {
        "cell": name,
        "activation": activation,
        "axes": {"activation": activation},
        "task": {"name": "tiny_text", "context": 256},
        "model": {"name": "gpt2-tiny", "d_model": 128, "n_layers": 4, "n_heads": 4, "match": "parameters"},
        "settings": {"optimizer": "adamw", "steps": STEPS[-1], "batch_size": 8, "warmup": 0.05},
        "cost": {"parameters": 817_152, "flops_per_token": 1.638e6 + 2048 * gated, "d_ff": 341 if gated else 512},
        "environment": {
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "python": "3.11.9",
            "versions": {"jax": "0.10.2", "flax": "0.12.8"},
            "platform": "Linux-6.1-x86_64",
            "device": "cpu",
            "device_count": 2,
            "execution": "vmap",
            "matmul_precision": "highest",
            "data": {"name": "tiny_text", "version": "1.0.0", "sha256": "f" * 64, "bytes": {"train": 1_003_854}},
        },
    }


def _timing(cell: str, activation: str, runs: int) -> pd.DataFrame:
    intervals = len(STEPS) - 1
    train = pd.DataFrame({"cell": cell, "kind": "train", "runs": runs, "start_step": STEPS[:-1], "step": STEPS[1:]})
    train["seconds"] = seconds(activation) * runs / intervals
    train["tokens"] = float(runs * TOKENS_PER_STEP * STEPS[-1] / intervals)
    compiled = train.iloc[:1].assign(kind="compile", seconds=6.0, tokens=0.0)
    return pd.concat([compiled, train], ignore_index=True)
