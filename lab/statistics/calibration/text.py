"""Intervals over seeds, and over seeds and text, of a difference with known variance components."""

from collections.abc import Iterator

import numpy as np

from lab.statistics.calibration.check import Check, blocks, covered, rate
from lab.statistics.crossed import crossed

# For swiglu minus gelu in the quickstart, in nats**2: variance of seeds, of documents, and of a seed on a document.
SEED, TEXT, RESIDUAL = 1.2e-4, 4.3e-4, 7.0e-3
DOCUMENTS = 64
BEFORE = {8: "-", 20: ".89", 100: ".68"}


def checks(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    """Coverage of the mean on this text by the interval over seeds, and on all text by the one over seeds and text."""
    for seeds, then in BEFORE.items():
        this_text, all_text, all_text_by_seeds = [], [], []
        for count in blocks(experiments, 20_000 // seeds):
            of_text = np.sqrt(TEXT) * rng.standard_normal((count, 1, DOCUMENTS))
            of_seed = np.sqrt(SEED) * rng.standard_normal((count, seeds, 1))
            noise = np.sqrt(RESIDUAL) * rng.standard_normal((count, seeds, DOCUMENTS))
            found = crossed(of_seed + of_text + noise)
            over_seeds = found.interval_over_seeds()
            this_text.append(covered(over_seeds, of_text.mean(axis=(1, 2))))
            all_text_by_seeds.append(covered(over_seeds, 0.0))
            all_text.append(covered(found.interval_over_seeds_and_text(), 0.0))
        rates = [rate(found) for found in (this_text, all_text_by_seeds, all_text)]
        setting = f"{seeds} seeds, {DOCUMENTS} documents"
        yield Check("text", setting, "coverage, this text", "-", rates[0], rates[0], 0.94, 0.96, experiments)
        yield Check("text", setting, "coverage, all text", then, rates[1], rates[2], 0.94, 0.96, experiments)
