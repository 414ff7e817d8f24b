"""Whether learning rates can be chosen from shorter runs: the quickstart tuned at a quarter, half and all of its steps.

Command: python -m benchmarks.short_tuning --json docs/benchmarks/short_tuning.json
Cost:    about 7 minutes of 2 CPU cores (resumable)

Each length is trained with its own schedule, at the rates of the quickstart's tuning, with eight seeds. For every
choice of two of these seeds as tuning seeds, each arm's rate is chosen from the runs of the length, and judged by the
full runs of the other six seeds: whether it is the best rate there, and how much worse its loss is than the best one's.
Two full runs are the yardstick, since they do not always choose the best rate either.
"""

import argparse
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

import ablations
from benchmarks import measure
from experiments.quickstart import experiment as quickstart
from lab.experiment.experiment import Experiment, Tuning

SHARES = (0.25, 0.5, 1.0)
ARMS = sorted(map(str, quickstart.activations))
SEEDS = tuple(range(2000, 2008))
CHOOSING = 2
"""Tuning seeds: those of an experiment unless it says otherwise."""

Losses = Float[np.ndarray, "arms rates seeds"]


def experiment(share: float) -> Experiment:
    """The quickstart at all rates of its tuning, in a share of its steps."""
    return replace(
        quickstart,
        name=f"short-tuning-{share:g}",
        seeds=SEEDS,
        learning_rates=quickstart.tuning.learning_rates,
        tuning=Tuning(),
        settings=replace(quickstart.settings, steps=round(share * quickstart.settings.steps)),
    )


def losses(folder: Path, share: float) -> Losses:
    """The final validation loss of every arm (in the order of `ARMS`), rate and seed; trained if not in the folder."""
    asked = experiment(share)
    rows = ablations.run(asked, out=folder / asked.name, quiet=True).rows
    last = rows[(rows["step"] == asked.settings.steps) & (rows["split"] == "validation") & (rows["metric"] == "loss")]
    table = last.set_index(["activation", "learning_rate", "seed"])["value"].sort_index()
    shape = (len(asked.activations), len(asked.learning_rates), len(asked.seeds))
    return table.to_numpy().reshape(shape)


def judged(short: Losses, full: Losses) -> dict[str, float]:
    """How often the rates chosen from `short` are the best by `full`, over all pairs of choosing seeds and arms; the
    mean and the largest loss they give away, in nats; and the sd of what that adds to a difference between arms."""
    same, given_away = [], []
    for chosen in combinations(range(full.shape[-1]), CHOOSING):
        others = [seed for seed in range(full.shape[-1]) if seed not in chosen]
        rate = short[..., list(chosen)].mean(axis=-1).argmin(axis=-1)
        truth = full[..., others].mean(axis=-1)
        same.append(rate == truth.argmin(axis=-1))
        given_away.append(np.take_along_axis(truth, rate[:, None], axis=-1)[:, 0] - truth.min(axis=-1))
    lost = np.array(given_away)
    baseline = ARMS.index(quickstart.baseline)
    apart = (np.delete(lost, baseline, axis=1) - lost[:, [baseline]]).std()
    return {
        "same": float(np.mean(same)),
        "mean_loss_given_away": float(lost.mean()),
        "largest": float(lost.max()),
        "sd_of_differences": float(apart),
    }


def measured(folder: Path) -> list[dict[str, Any]]:
    """One row per length."""
    by_share = {share: losses(folder, share) for share in SHARES}
    return [{"share_of_steps": share, **judged(short, by_share[1.0])} for share, short in by_share.items()]


def main() -> None:
    """Measure, print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/short_tuning"))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = measured(asked.out)
    for row in rows:
        print("  ".join(f"{name} {value:.4f}" for name, value in row.items()))
    if asked.json is not None:
        measure.write(asked.json, {"about": measure.about(), "rows": rows, "seeds": len(SEEDS), "choosing": CHOOSING})


if __name__ == "__main__":
    main()
