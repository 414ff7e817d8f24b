"""Two standard errors of a difference measured for seeds on documents: over seeds alone, and over seeds and text."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from lab.statistics.paired import check_probability


class Components(NamedTuple):
    """The variance of a mean over S seeds and D documents is seed / S + text / D + residual / (S D).

    `seed` is the variance between seeds on all text, `text` that between documents (of average length) for all seeds,
    `residual` the remainder, in squared units of the losses.
    """

    seed: Float[np.ndarray, "*batch"]
    text: Float[np.ndarray, "*batch"]
    residual: Float[np.ndarray, "*batch"]


class Crossed(NamedTuple):
    """The mean difference, its two standard errors, their degrees of freedom, and the variance components.

    `se_seeds` is for claims about this text, `se_seeds_and_text` for claims about the population of texts; it is never
    the smaller one.
    """

    mean: Float[np.ndarray, "*batch"]
    se_seeds: Float[np.ndarray, "*batch"]
    df_seeds: Float[np.ndarray, "*batch"]
    se_seeds_and_text: Float[np.ndarray, "*batch"]
    df_seeds_and_text: Float[np.ndarray, "*batch"]
    components: Components

    def interval_over_seeds(
        self, level: float = 0.95
    ) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
        """Ends of the interval of the mean over seeds on these documents: the paired t interval."""
        return _interval(self.mean, self.se_seeds, self.df_seeds, level)

    def interval_over_seeds_and_text(
        self, level: float = 0.95
    ) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
        """Ends of the interval of the mean over seeds and documents like these."""
        return _interval(self.mean, self.se_seeds_and_text, self.df_seeds_and_text, level)


def by_document(
    losses: Float[np.ndarray, "*batch windows"],
    document: Int[np.ndarray, " windows"],
    lengths: Float[np.ndarray, " windows"],
) -> tuple[Float[np.ndarray, "*batch documents"], Float[np.ndarray, " documents"]]:
    """The mean loss per token of every document, from its windows, and its number of tokens.

    `document` is the index of each window's document, `lengths` the number of tokens in the mean of its loss.
    Windows of one document are not independent, so the document is the sampling unit (Miller 2024, section 2.2).
    Raises ValueError unless all three have equal length and every window has tokens.
    """
    if not losses.shape[-1] == len(document) == len(lengths):
        raise ValueError(
            f"losses, document and lengths have {losses.shape[-1]}, {len(document)} and {len(lengths)} windows, "
            "but must have the same number"
        )
    if not (np.asarray(lengths) > 0).all():
        raise ValueError("lengths has a window without tokens, but each needs at least 1")
    _, index = np.unique(document, return_inverse=True)
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    tokens = np.add.reduceat(np.asarray(lengths, dtype=np.float64)[order], starts)
    sums = np.add.reduceat((np.asarray(losses, dtype=np.float64) * lengths)[..., order], starts, axis=-1)
    return sums / tokens, tokens


def crossed(
    differences: Float[np.ndarray, "*batch seeds documents"], weights: Float[np.ndarray, " documents"] | None = None
) -> Crossed:
    """Mean and standard errors of differences of every seed on every document, as crossed random effects.

    A difference is the mean plus effects of the seed and of the document, and a residual. The mean weights documents by
    `weights`, their tokens (None: equally), like the loss per token of the whole text; it is then a ratio of sums,
    whose variance is that of its linearization, with weights drawn together with their documents. With the mean squares
    of rows (A), columns (B) and residual (E), the variance over seeds is A / (S D), and over both it is (A + max(B - E,
    0)) / (S D). Degrees of freedom are Satterthwaite's, with the effective number of documents that has the same sum of
    squared weights. Negative components are set to 0. Owen (2007), "The pigeonhole bootstrap"; Miller (2024), "Adding
    error bars to evals" (arXiv:2411.00640); Searle, Casella and McCulloch (1992), "Variance components", section 4.3.
    Raises ValueError for fewer than 2 seeds or documents, differences that are not finite, or weights that are not one
    positive number per document.
    """
    seeds, documents = differences.shape[-2:]
    if seeds < 2 or documents < 2:
        raise ValueError(f"there are {seeds} seeds and {documents} documents, but both need at least 2")
    if not np.isfinite(differences).all():
        raise ValueError("differences must be finite: leave out pairs with a diverged run")
    share = np.ones(documents) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (documents,) or not (np.isfinite(share).all() and (share > 0).all()):
        raise ValueError(f"weights must be {documents} positive numbers, one per document")
    share = share / share.sum()

    of_seed = differences @ share
    mean = of_seed.mean(axis=-1)
    contributions = (
        documents * share * (differences - mean[..., None, None])
    )  # its mean over documents is of_seed - mean
    of_document = contributions.mean(axis=-2)
    residuals = contributions - of_document[..., None, :] - (of_seed - mean[..., None])[..., None]
    df = np.array([seeds - 1, _equal_documents(share) - 1, (seeds - 1) * (documents - 1)])
    rows = documents * ((of_seed - mean[..., None]) ** 2).sum(axis=-1) / (seeds - 1)
    columns = seeds * (of_document**2).sum(axis=-1) / (documents - 1)
    rest = (residuals**2).sum(axis=(-2, -1)) / df[2]

    text = np.maximum(columns - rest, 0)
    total = rows + text
    spread = rows**2 / df[0] + np.where(text > 0, columns**2 / df[1] + rest**2 / df[2], 0)
    freedom = np.divide(total**2, spread, out=np.full_like(total, df[0]), where=spread > 0)
    components = Components(np.maximum(rows - rest, 0) / documents, text / seeds, rest)
    return Crossed(
        mean,
        np.sqrt(rows / (seeds * documents)),
        np.full_like(mean, df[0]),
        np.sqrt(total / (seeds * documents)),
        freedom,
        components,
    )


def _equal_documents(share: Float[np.ndarray, " documents"]) -> float:
    """The effective number of documents: that of equal weights whose sum of squares is known equally well."""
    return float(max((share**2).sum() ** 2 / (share**4).sum(), 2.0))


def _interval(
    mean: Float[np.ndarray, "*batch"], error: Float[np.ndarray, "*batch"], df: Float[np.ndarray, "*batch"], level: float
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    check_probability("level", level)
    half_width = stats.t.ppf((1 + level) / 2, df) * error
    return mean - half_width, mean + half_width
