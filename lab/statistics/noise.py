"""What the noise of a difference is made of: seeds, text, and how much of either more evaluated examples remove."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lab.statistics.crossed import Components, by_document, crossed


class Noise(NamedTuple):
    """The difference between an arm and its baseline, measured for so many pairs on so many examples.

    `of_seed` is the variance of one seed's difference on these examples, `of_seed_by_example` the part of it that is
    not the seed's on other examples of the same documents. `of_text` is the variance that the mean over all seeds has
    since it is of these documents, `of_text_by_example` the part of it that other examples of them would change. Both
    parts fall as 1 / examples. `equal_documents` is how many documents of equal size tell the text's variance as well.
    `components` are those by document. All in squared units of the losses.
    """

    mean: float
    pairs: int
    examples: int
    documents: int
    equal_documents: float
    of_seed: float
    of_seed_by_example: float
    of_text: float
    of_text_by_example: float
    components: Components

    def seed_variance(self, examples: int, scale: float = 1.0) -> float:
        """The variance of one seed's difference on so many examples, if that on the measured ones is `scale` times what
        these pairs say: the part by example is well known even from few pairs, the rest is not."""
        fixed = max(self.of_seed * scale - self.of_seed_by_example, 0.0)
        return fixed + self.of_seed_by_example * self.examples / examples

    def text_variance(self, examples: int) -> float:
        """The variance of the mean over all seeds with the text, on so many examples of as many documents."""
        return self.of_text - self.of_text_by_example + self.of_text_by_example * self.examples / examples


def noise(
    differences: Float[np.ndarray, "seeds examples"],
    document: Int[np.ndarray, " examples"],
    weight: Float[np.ndarray, " examples"],
) -> Noise:
    """What the differences of every seed on every example say of their noise.

    A difference is the mean plus effects of seed, document, example within its document, seed x document, and what is
    left, seed x example; the variances are those of analysis of variance, by its mean squares, as `crossed` has them by
    document (Searle, Casella and McCulloch 1992, "Variance components", section 4.3). Where each example is a document
    of its own, more examples are more documents. Raises what `crossed` and `by_document` raise.
    """
    means, tokens = by_document(np.asarray(differences, dtype=np.float64), document, weight)
    found = crossed(means, tokens)
    pairs, examples = differences.shape
    of_seed = pairs * float(found.se_seeds) ** 2
    of_text = float(found.se_seeds_and_text) ** 2 - float(found.se_seeds) ** 2
    rest, common = _within_documents(differences - found.mean, document, weight)
    share = tokens / tokens.sum()
    return Noise(
        float(found.mean),
        pairs,
        examples,
        len(tokens),
        float((share**2).sum() ** 2 / (share**4).sum()),
        of_seed,
        min(rest / examples, of_seed),
        of_text,
        min(max(common - rest / pairs, 0.0) / examples, of_text),
        found.components,
    )


def _within_documents(
    centred: Float[np.ndarray, "seeds examples"],
    document: Int[np.ndarray, " examples"],
    weight: Float[np.ndarray, " examples"],
) -> tuple[float, float]:
    """The mean squares within documents, each example multiplied by its share of the weight: of seed x example, and of
    the examples' means over seeds. Where no document has two examples, those of all together."""
    seeds, examples = centred.shape
    contributions = examples * np.asarray(weight, dtype=np.float64) / np.sum(weight) * centred
    _, index = np.unique(document, return_inverse=True)
    if index.max() + 1 == examples:
        index = np.zeros(examples, dtype=int)
    count = np.bincount(index)
    sums = np.stack([np.bincount(index, row) for row in contributions])
    left = contributions - (sums / count)[:, index]
    common = left.mean(axis=0)
    df = examples - len(count)
    return float(((left - common) ** 2).sum() / (df * (seeds - 1))), float((common**2).sum() / df)
