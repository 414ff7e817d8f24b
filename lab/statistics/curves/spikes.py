"""Spikes of a curve: values far above those just before them."""

import numpy as np
from jaxtyping import Bool, Float
from numpy.lib.stride_tricks import sliding_window_view

WINDOW = 128
"""Number of earlier values that a value is compared with."""
DEVIATIONS = 6
"""Standard deviations above their mean from which it is a spike."""


def spikes(
    values: Float[np.ndarray, "*batch steps"], before: Float[np.ndarray, "*batch earlier"] | None = None
) -> Bool[np.ndarray, "*batch steps"]:
    """Which values are spikes: above mean + `DEVIATIONS` population standard deviations of the previous `WINDOW` ones.

    `before` are the values that precede the first. Values with fewer than `WINDOW` before them are no spikes. As the
    stability monitor of allenai/OLMo-core (train/callbacks/stability_monitor.py), whose spike score is the mean of the
    result.
    """
    whole = values if before is None else np.concatenate([before[..., -WINDOW:], values], axis=-1)
    known = whole.shape[-1] - values.shape[-1]
    found = np.zeros(whole.shape, bool)
    if whole.shape[-1] > WINDOW:
        windows = sliding_window_view(whole.astype(np.float64), WINDOW, axis=-1)[..., :-1, :]
        with np.errstate(invalid="ignore"):  # curves of diverged runs
            limit = windows.mean(axis=-1) + DEVIATIONS * windows.std(axis=-1)
            found[..., WINDOW:] = whole[..., WINDOW:] > limit
    return found[..., known:]
