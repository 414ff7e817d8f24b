"""Augmentation: training images mirrored and shifted, a pure function of the seed and the place in the training."""

from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from lab.data.order import drawn

PADDING = 4
"""Zeros around an image from which a crop of its size is taken (He et al. 2015, arXiv:1512.03385, section 4.2)."""


def mirror_crop(
    images: Shaped[Any, "*examples height width channels"],
    seed: int | Integer[Any, "..."],
    number: Integer[Any, " batch"],
) -> Shaped[Any, "*examples height width channels"]:
    """Every image mirrored left to right with probability 1/2, then a random crop of it within a border of zeros.

    What happens to an image is drawn from the seed and from `number`, that of the example in the training, in integers:
    the same in NumPy and inside jit. Seeds [n, 1] go with images [n, batch, ...].
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
