"""Augmentation: mirrors and shifts training images, as a pure function of the seed and the example's number."""

from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from lab.data.order import drawn

PADDING = 4
"""Zero padding before the random crop (He et al. 2015, arXiv:1512.03385, section 4.2)."""


def mirror_crop(
    images: Shaped[Any, "*examples height width channels"],
    seed: int | Integer[Any, "..."],
    number: Integer[Any, " batch"],
) -> Shaped[Any, "*examples height width channels"]:
    """Mirror each image horizontally with probability 1/2, then crop it randomly after zero padding.

    Draws depend on the seed and on `number`, the number of the example in training, and use integers only, so that they
    are the same in NumPy and under jit. Seeds [n, 1] go with images [n, batch, ...].
    """
    (height, width, channels), places = images.shape[-3:], 2 * PADDING + 1
    draw = drawn(2 * places**2, seed, number).reshape(-1, 1)
    rows = draw // 2 % places - PADDING + np.arange(height)[None, :]
    columns = draw // (2 * places) - PADDING + np.arange(width)[None, :]
    columns = columns + draw % 2 * (width - 1 - 2 * columns)  # mirrored: from the other end
    within = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    pixels = images.reshape(-1, height, width, channels)[
        np.arange(len(draw))[:, None, None],
        rows.clip(0, height - 1)[:, :, None],
        columns.clip(0, width - 1)[:, None, :],
    ]
    return (pixels * within[..., None]).reshape(images.shape)


def _within(places: Any, size: int) -> Any:
    return (places >= 0) & (places < size)
