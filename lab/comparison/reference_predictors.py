"""Reference predictors: the scores of predictors that are not networks, compared with the baseline activation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lab.comparison.outcomes import axis_columns, run_columns
from lab.results.directions import direction_of

if TYPE_CHECKING:
    from lab.results.results import Results


def beside(results: Results, activation: str) -> pd.DataFrame:
    """The reference predictors of the results, strongest first: task, predictor, metric, split, value, and the
    baseline activation's `reached` and `beaten`.

    `reached` is its mean over the seeds at the last step that all its runs have, the best of several settings; nan if
    nothing was measured or a run diverged. Predictors with a metric that the task does not measure are omitted.
    """
    known = results.rows[["task", "metric"]].drop_duplicates()
    table = results.reference_predictors.merge(known, on=["task", "metric"])
    higher = table["metric"].map(lambda metric: direction_of(metric, results.experiment) == "max").astype(bool)
    table["reached"] = [
        _reached(results.rows, activation, row, more) for (_, row), more in zip(table.iterrows(), higher, strict=True)
    ]
    table["beaten"] = np.where(higher, table["reached"] > table["value"], table["reached"] < table["value"])
    hardness = table["value"].where(higher, -table["value"])
    order = hardness.sort_values(ascending=False, kind="stable").index
    return table.loc[order].sort_values("task", kind="stable").reset_index(drop=True)


def best(table: pd.DataFrame, activation: str) -> list[str]:
    """One sentence per task on its strongest predictor, from the table returned by `beside`."""
    sentences = []
    for _, row in table.drop_duplicates("task").iterrows():
        metric = row["metric"].replace("_", " ")
        against = "not measured" if math.isnan(row["reached"]) else f"{row['reached']:.4g}"
        verdict = "beats" if row["beaten"] else "does not beat"
        sentences.append(
            f"{row['task']}: best reference predictor {row['predictor']}, {row['split']} {metric} {row['value']:.4g}; "
            f"{activation} ({against}) {verdict} it"
        )
    return sentences


def levels(results: Results, rows: pd.DataFrame, metric: str, split: str) -> dict[str, float]:
    """Predictor -> its value in the given metric and split, for rows of one task. Bits per byte are converted to a loss
    in nats, or to nan if the rows lack the conversion factor. Predictors in other metrics are omitted."""
    known = results.reference_predictors
    known = known[known["task"].isin(rows["task"]) & (known["split"] == split)]
    if metric == "loss":
        known = known[known["metric"] == "bits_per_byte"]
        return dict(zip(known["predictor"], known["value"] / bits_per_loss(rows, split), strict=True))
    known = known[known["metric"] == metric]
    return dict(zip(known["predictor"], known["value"], strict=True))


def bits_per_loss(rows: pd.DataFrame, split: str) -> float:
    """The bits per byte of one nat per token, a constant of the split's text: 1 / ln 2 / (bytes per token).

    It is nan if bits per byte were not measured.
    """
    measured = rows[rows["split"] == split]
    first = measured[measured["step"] == measured["step"].min()]
    bits, loss = (first.loc[first["metric"] == metric, "value"].mean() for metric in ("bits_per_byte", "loss"))
    return bits / loss


def _reached(rows: pd.DataFrame, activation: str, predictor: pd.Series, higher: bool) -> float:
    """The activation's mean in the predictor's metric."""
    of_it = rows["activation"] == activation
    for column in ("task", "metric", "split"):
        of_it &= rows[column] == predictor[column]
    measured = rows[of_it]
    if measured.empty:
        return math.nan
    common = measured.groupby(run_columns(rows), dropna=False)["step"].max().min()
    at_end = measured[measured["step"] == common]
    settings = at_end.groupby(["activation", *axis_columns(rows)], dropna=False)["value"]
    means = settings.agg(lambda values: values.mean(skipna=False))
    return means.max() if higher else means.min()
