"""Mel-frequency cepstral coefficients (MFCC), a compact description of a log-mel spectrum."""

import numpy as np
import scipy.fft
from jaxtyping import Float, Num

from lab.data.audio.log_mel import FLOOR, log_mel, windows

COEFFICIENTS = 12
BANDS = 26
"""Bands of the log-mel spectra, HTK's usual number at 16 kHz."""
FEATURES = 2 * (COEFFICIENTS + 1)


def mfcc(samples: Num[np.ndarray, " samples"], rate: int) -> Float[np.ndarray, "frames 26"]:
    """12 coefficients, the log energy, and the slopes of these 13, for windows of 25 ms every 10 ms.

    The coefficients are the second to thirteenth of the orthonormal cosine transform of a log-mel spectrum with 26
    bands (Davis and Mermelstein 1980); the energy is the sum of the squared samples, which range from -1 to 1. HTK's
    pre-emphasis and liftering, which shift and scale each coefficient, are omitted, since standardization cancels them.
    """
    cepstra = scipy.fft.dct(log_mel(samples, rate, BANDS), type=2, norm="ortho", axis=1)[:, 1 : COEFFICIENTS + 1]
    energies = np.square(windows(samples, rate)).sum(axis=1, keepdims=True)
    static = np.concatenate([cepstra, np.log(np.maximum(energies, FLOOR))], axis=1)
    return np.concatenate([static, slopes(static)], axis=1)


def slopes(rows: Float[np.ndarray, "frames features"]) -> Float[np.ndarray, "frames features"]:
    """The slope per frame of the least-squares line through each frame and two on either side (Furui 1986); the first
    and last frame are repeated at the ends."""
    near = np.pad(rows, ((2, 2), (0, 0)), mode="edge")
    return (near[3:-1] - near[1:-3] + 2 * (near[4:] - near[:-4])) / 10
