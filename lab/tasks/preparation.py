"""Preprocessing of images, fitted on the training images."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, UInt8

Pixels = UInt8[np.ndarray, "n height width channels"]
Prepared = Float32[np.ndarray, "n height width channels"]

REGULARIZATION = 1e-5
"""Added to the variances that whitening divides by, as in Hendrycks and Gimpel (2016)."""


def centring(train: Pixels) -> Callable[[Pixels], Prepared]:
    """Pixels from 0 to 1 minus the mean training image."""
    mean = (train.mean(axis=0) / 255).astype(np.float32)
    return lambda images: images.astype(np.float32) / 255 - mean


def whitening(train: Pixels) -> Callable[[Pixels], Prepared]:
    """ZCA: pixels (x - 127.5) / 128, transformed with the least change so that over the training images they are
    uncorrelated with variance 1 (Krizhevsky 2009, "Learning multiple layers of features", appendix A).

    Along the principal components, variances v become v / (v + REGULARIZATION).
    """
    rows = _scaled(train)
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    # In float64, as float32 rounds at 1e-7 of the largest variance, which exceeds 100: the size of the regularization.
    variances, components = np.linalg.eigh(np.cov(rows, rowvar=False, bias=True, dtype=np.float64))
    matrix = ((components / np.sqrt(variances + REGULARIZATION)) @ components.T).astype(np.float32)
    return lambda images: ((_scaled(images) - mean) @ matrix).reshape(images.shape)


def _scaled(images: Pixels) -> Float32[np.ndarray, "n pixels"]:
    return (images.reshape(len(images), -1).astype(np.float32) - 127.5) / 128
