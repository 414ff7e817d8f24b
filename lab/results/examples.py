"""Per-example values of the last evaluation; examples are windows of a text, images or recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

CURVE = "validation_curve"
"""The split of a curve's last point on the examples of its other points, if the last evaluation uses more."""
RUN = "run_"
"""Prefix of the columns of values, followed by the index of a run in its wave."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric on the examples of a split: its value for each run and example, f32, the weight of each example in the
    split's mean (such as its number of tokens), and the document that it belongs to."""

    values: Float[np.ndarray, "runs examples"]
    weight: Float[np.ndarray, " examples"]
    document: Int[np.ndarray, " examples"]


@dataclass(frozen=True, eq=False)
class Examples(Measured):
    """The same for all runs of a cell; `runs` has one row per run with its seed and hyperparameters."""

    runs: pd.DataFrame

    def of(self, index: Int[np.ndarray, " chosen"]) -> "Examples":
        """The values of the given runs, in this order."""
        return Examples(self.values[index], self.weight, self.document, self.runs.iloc[index])


def encoded(measured: Mapping[str, Mapping[str, Measured]]) -> bytes:
    """Split -> metric -> values, as the Parquet file that `decoded` reads: one row per example, with the columns split,
    metric, document, weight, and one column per run."""
    parts = [
        pd.DataFrame({"split": split, "metric": metric, "document": one.document, "weight": one.weight}).join(
            pd.DataFrame(one.values.T, columns=[f"{RUN}{run}" for run in range(len(one.values))])
        )
        for split, metrics in measured.items()
        for metric, one in metrics.items()
    ]
    return pd.concat(parts, ignore_index=True).to_parquet(index=False) if parts else pd.DataFrame().to_parquet()


def decoded(table: pa.Table, split: str, metric: str) -> Measured | None:
    """The examples of a split and metric in the table of a wave; None if it has none."""
    names = table.column_names
    chosen = table.filter((pc.field("split") == split) & (pc.field("metric") == metric)) if "split" in names else table
    if not len(chosen):
        return None
    values = np.stack([chosen[name].to_numpy().astype(np.float32) for name in names if name.startswith(RUN)])
    return Measured(values, chosen["weight"].to_numpy(), chosen["document"].to_numpy())


def joined(waves: Sequence[tuple[Sequence[Mapping[str, Any]], Measured | None]]) -> Examples | None:
    """The examples of several waves of one cell, each with its runs; waves without any are left out. None if no wave
    has any, or if they were measured on different ones."""
    known = [(runs, one) for runs, one in waves if one is not None]
    if not known or not all(same_examples(known[0][1], one) for _, one in known):
        return None
    first = known[0][1]
    runs = pd.DataFrame([run for identities, _ in known for run in identities])
    return Examples(np.concatenate([one.values for _, one in known]), first.weight, first.document, runs)


def same_examples(one: Measured, other: Measured) -> bool:
    """Whether both were measured on the same examples, judging by weights and documents."""
    return np.array_equal(one.weight, other.weight) and np.array_equal(one.document, other.document)
