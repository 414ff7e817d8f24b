"""What single examples were measured at in the last evaluation: windows of a text, images, recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

CURVE = "validation_curve"
"""The split of a curve's last point, on the examples of all its others, where the last evaluation is on more."""
RUN = "run_"
"""Before the number of a run in its wave: the columns of values."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of the examples of a split: the value of each for each run, f32, what it weighs in the split's mean (the
    tokens that a loss is a mean of, say), and the number of the document that it was drawn with."""

    values: Float[np.ndarray, "runs examples"]
    weight: Float[np.ndarray, " examples"]
    document: Int[np.ndarray, " examples"]


@dataclass(frozen=True, eq=False)
class Examples(Measured):
    """The same of all runs of a cell, which `runs` describes: seed and hyperparameters, a row a run."""

    runs: pd.DataFrame

    def of(self, index: Int[np.ndarray, " chosen"]) -> "Examples":
        """Those of some runs, in this order."""
        return Examples(self.values[index], self.weight, self.document, self.runs.iloc[index])


def encoded(measured: Mapping[str, Mapping[str, Measured]]) -> bytes:
    """Split -> metric -> values, as the Parquet file that `decoded` reads: a row an example, with the columns split,
    metric, document, weight, and one a run."""
    parts = [
        pd.DataFrame({"split": split, "metric": metric, "document": one.document, "weight": one.weight}).join(
            pd.DataFrame(one.values.T, columns=[f"{RUN}{run}" for run in range(len(one.values))])
        )
        for split, metrics in measured.items()
        for metric, one in metrics.items()
    ]
    return pd.concat(parts, ignore_index=True).to_parquet(index=False) if parts else pd.DataFrame().to_parquet()


def decoded(table: pd.DataFrame, split: str, metric: str) -> Measured | None:
    """The examples of a split and metric in the table of a wave; None where it has none."""
    chosen = table[(table["split"] == split) & (table["metric"] == metric)] if "split" in table else table
    if chosen.empty:
        return None
    values = chosen[[column for column in table.columns if column.startswith(RUN)]].to_numpy(np.float32).T
    return Measured(values, chosen["weight"].to_numpy(), chosen["document"].to_numpy())


def joined(waves: Sequence[tuple[Sequence[Mapping[str, Any]], Measured | None]]) -> Examples | None:
    """The examples of several waves of one cell, each with its runs; those of waves that have none are left out. None
    where none has, or they were measured on different ones."""
    known = [(runs, one) for runs, one in waves if one is not None]
    if not known or not all(same_examples(known[0][1], one) for _, one in known):
        return None
    first = known[0][1]
    runs = pd.DataFrame([run for identities, _ in known for run in identities])
    return Examples(np.concatenate([one.values for _, one in known]), first.weight, first.document, runs)


def same_examples(one: Measured, other: Measured) -> bool:
    """Whether both were measured on the same examples, as far as weights and documents tell."""
    return np.array_equal(one.weight, other.weight) and np.array_equal(one.document, other.document)
