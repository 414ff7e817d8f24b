"""Mel-frequency cepstral coefficients: the shape of a log-mel spectrum in a few numbers."""

import numpy as np
import scipy.fft
from jaxtyping import Float, Num

from lab.data.audio.log_mel import FLOOR, log_mel, windows

COEFFICIENTS = 12
BANDS = 26
"""Bands of the log-mel spectra, HTK's usual number at 16 kHz."""
FEATURES = 2 * (COEFFICIENTS + 1)


def mfcc(samples: Num[np.ndarray, " samples"], rate: int) -> Float[np.ndarray, "frames 26"]:
    """12 coefficients, the logarithm of the energy, and how fast these 13 change, of windows of 25 ms every 10 ms.

    The coefficients are those from the second on of the orthonormal cosine transform of a log-mel spectrum of 26 bands
    (Davis and Mermelstein 1980); the energy is the sum of the squared samples, which are from -1 to 1. HTK's
    pre-emphasis and liftering, which shift and stretch each coefficient, are left out: what is standardized
    afterwards does not need them.
    """
    cepstra = scipy.fft.dct(log_mel(samples, rate, BANDS), type=2, norm="ortho", axis=1)[:, 1 : COEFFICIENTS + 1]
    energies = np.square(windows(samples, rate)).sum(axis=1, keepdims=True)
    static = np.concatenate([cepstra, np.log(np.maximum(energies, FLOOR))], axis=1)
    return np.concatenate([static, slopes(static)], axis=1)


def slopes(rows: Float[np.ndarray, "frames features"]) -> Float[np.ndarray, "frames features"]:
    """The slope a frame of the line that fits each frame and two on either side best (Furui 1986); the first and the
    last frame stand for what is beyond."""
    near = np.pad(rows, ((2, 2), (0, 0)), mode="edge")
    return (near[3:-1] - near[1:-3] + 2 * (near[4:] - near[:-4])) / 10
