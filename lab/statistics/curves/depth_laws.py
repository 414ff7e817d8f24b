"""Laws by which a positive quantity changes with depth: a power law, a stretched exponential, an exponential."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

SHAPES: dict[str, Callable[[Any], Any]] = {"power": np.log, "stretched": np.sqrt, "exponential": np.asarray}
"""Name -> what the logarithm of the quantity is linear in, as a function of the layer."""


def fit(
    layers: Float[np.ndarray, " layers"], logs: Float[np.ndarray, " layers"], shape: str
) -> tuple[Float[np.ndarray, " 2"], float]:
    """Least-squares intercept and slope of `logs` over the transformed layer, and the residual sum of squares."""
    design = np.stack([np.ones(len(layers)), SHAPES[shape](layers)], axis=1)
    found, *_ = np.linalg.lstsq(design, logs, rcond=None)
    return found, float(np.square(logs - design @ found).sum())
