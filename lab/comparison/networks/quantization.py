"""What quantization costs networks: differences in loss by recipe, and what keeping a site in float saves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lab.comparison.question import Question
from lab.comparison.verdict import Finding, Pairs, findings
from lab.results.examples import Measured
from lab.statistics.crossed import by_document, crossed

MARGIN = 0.001
"""Nats within which a network counts as equivalent: 0.1 % of the perplexity, a tenth of the smallest standard deviation
over seeds in the studies here."""
FLOAT = "off"
"""The recipe without quantization, the baseline."""
VARIANT = ["recipe", "kept"]
OVER_SEEDS, OVER_TEXT = "seeds", "text (one network)"
NOT_ARMS = ("seed", "over", *VARIANT, "loss", "difference", "se_seeds_and_text", "learning_rate")


def differences(changed: Measured, unchanged: Measured, seeds: Sequence[int]) -> pd.DataFrame:
    """Rows of seed, loss and difference, the loss of each changed network minus that of the unchanged one, in nats per
    token of the whole text; se_seeds_and_text, the standard error of the mean difference over seeds and documents; and
    `over`, what an interval of the rows is over.

    `values` are those of networks in the order of `seeds`. A single network has a row per document instead, whose mean
    is the difference and whose spread is the noise of the text (the linearized ratio of sums, as in
    `lab.statistics.crossed`); `seed` then numbers the documents. A difference that is not finite is nan.
    """
    apart = changed.values.astype(np.float64) - unchanged.values
    of_network, share = _by_network(apart, changed)
    losses, _ = _by_network(changed.values.astype(np.float64), changed)
    error, over = None, OVER_SEEDS
    if len(seeds) > 1:
        loss, difference = losses @ share, of_network @ share
        trained = of_network[np.isfinite(of_network).all(axis=1)]
        if len(trained) > 1 and len(share) > 1:
            error = float(crossed(trained, share).se_seeds_and_text)
    else:
        loss, difference = _as_draws(losses[0], share), _as_draws(of_network[0], share)
        seeds, over = range(len(share)), OVER_TEXT
    finite = np.where(np.isfinite(difference), difference, np.nan)
    beside = {"over": over, "se_seeds_and_text": error}
    return pd.DataFrame({"seed": list(seeds), "loss": loss, "difference": finite, **beside})


def _as_draws(values: Any, share: Any) -> Any:
    """One number per document, whose mean is the mean over tokens and whose spread is its noise."""
    mean = values @ share
    return mean + len(share) * share * (values - mean)


def _by_network(values: Any, measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Values [networks, documents], and each document's share of the tokens."""
    of_document, tokens = by_document(values, measured.document, measured.weight)
    return of_document, tokens / tokens.sum()


def recipes(rows: pd.DataFrame, margin: float = MARGIN, level: float = 0.95) -> pd.DataFrame:
    """One row per arm and recipe: n, loss, difference to the float network with interval, adjusted p values, verdict.

    `rows` are those of `differences` with `recipe`, `kept` ("" if nothing is) and a column for each field of the arm.
    All arms and recipes are one family; "equivalent" is a difference within the margin.
    """
    whole = rows[rows["kept"] == ""]
    found, pairs = [], []
    for names, one in _grouped(whole, [*arms(rows), "recipe"]):
        found.append({**names, **_counted(one), "loss": one["loss"].mean()})
        pairs.append(_pairs(one))
    return _with_findings(found, pairs, [row["recipe"] != FLOAT for row in found], margin, level)


def sites(rows: pd.DataFrame, margin: float = MARGIN, level: float = 0.95) -> pd.DataFrame:
    """One row per arm, recipe and site that is kept in float: `remaining`, the difference to the float network that is
    left, and `difference` to the network that is quantized everywhere, with interval, adjusted p values and verdict.

    "better" says that keeping the site helps. All rows are one family.
    """
    found, pairs = [], []
    for names, one in _grouped(rows[rows["recipe"] != FLOAT], [*arms(rows), "recipe"]):
        whole = one[one["kept"] == ""].set_index("seed")["difference"]
        for site, kept in _grouped(one[one["kept"] != ""], ["kept"]):
            saved = kept.assign(difference=kept["difference"].to_numpy() - whole[kept["seed"]].to_numpy())
            found.append({**names, **site, **_counted(saved), "remaining": kept["difference"].mean()})
            pairs.append(_pairs(saved.assign(se_seeds_and_text=np.nan)))
    return _with_findings(found, pairs, [True] * len(found), margin, level)


Contrast = Sequence[tuple[float, Mapping[str, Any]]]
"""Weights of arms, each given by its fields; they add up to 0."""


def contrasts(
    rows: pd.DataFrame,
    asked: Mapping[str, Contrast],
    value: str = "difference",
    margin: float = MARGIN,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row per recipe and contrast between arms, paired by seed, with interval, adjusted p values and verdict.

    `value` is "difference" for what the recipe costs, "loss" for the loss that is served. All rows are one family.
    """
    whole = rows[(rows["kept"] == "") & (rows["recipe"] != FLOAT)]
    found, pairs = [], []
    for names, one in _grouped(whole, ["recipe"]):
        for contrast, weights in asked.items():
            parts = [weight * _values(one, fields, value) for weight, fields in weights]
            apart = pd.concat(parts, axis=1).dropna().sum(axis=1)
            found.append({**names, "contrast": contrast, "n": len(apart)})
            pairs.append(Pairs(tuple(map(int, apart.index)), apart.to_numpy(), (len(apart),)))
    return _with_findings(found, pairs, [True] * len(found), margin, level)


def _values(rows: pd.DataFrame, fields: Mapping[str, Any], value: str) -> pd.Series:
    """The values of an arm by seed."""
    chosen = np.all([rows[name] == wanted for name, wanted in fields.items()], axis=0)
    return rows[chosen].set_index("seed")[value]


def arms(rows: pd.DataFrame) -> list[str]:
    """The columns of rows that tell arms apart."""
    return [name for name in rows.columns if name not in NOT_ARMS]


def _grouped(rows: pd.DataFrame, columns: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    groups = rows.groupby(columns, sort=False, dropna=False)
    return [(dict(zip(columns, names, strict=True)), group) for names, group in groups]


def _counted(rows: pd.DataFrame) -> dict[str, Any]:
    return {"n": int(rows["difference"].notna().sum()), "over": rows["over"].iloc[0]}


def _pairs(rows: pd.DataFrame) -> Pairs:
    error = rows["se_seeds_and_text"].iloc[0]
    known = None if pd.isna(error) else float(error)
    return Pairs(tuple(rows["seed"]), rows["difference"].to_numpy(), (len(rows),), se_seeds_and_text=known)


def _with_findings(
    rows: list[dict[str, Any]], pairs: list[Pairs], tested: list[bool], margin: float, level: float
) -> pd.DataFrame:
    """The rows with what was found of those that are tested; of others, the baseline, the difference alone."""
    question = Question(FLOAT, "loss", "min", "test", level, margin)
    chosen = [one for one, asked in zip(pairs, tested, strict=True) if asked]
    told = iter(findings(chosen, question, len(chosen)))
    table = pd.DataFrame(
        [
            {**row, **(_told(next(told), one) if asked else _baseline(one))}
            for row, one, asked in zip(rows, pairs, tested, strict=True)
        ]
    )
    known = any(one.se_seeds_and_text is not None for one in pairs)
    return table if known else table.drop(columns="se_seeds_and_text", errors="ignore")


def _told(found: Finding, pairs: Pairs) -> dict[str, Any]:
    return {
        "difference": found.evidence.mean,
        "low": found.low,
        "high": found.high,
        "se_seeds_and_text": pairs.se_seeds_and_text,
        "p_adjusted": found.p_adjusted,
        "equivalence_p": found.equivalence_p,
        "verdict": found.verdict,
    }


def _baseline(pairs: Pairs) -> dict[str, Any]:
    nothing = dict.fromkeys(("low", "high", "se_seeds_and_text", "p_adjusted", "equivalence_p"), np.nan)
    return {
        "difference": float(pairs.trained.mean()) if len(pairs.trained) else np.nan,
        **nothing,
        "verdict": "baseline",
    }
