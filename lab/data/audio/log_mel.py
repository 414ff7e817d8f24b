"""Log-mel spectra: the energy of speech in perceptually equal frequency bands."""

import numpy as np
from jaxtyping import Float, Num

WINDOW, HOP = 0.025, 0.010  # seconds: as in HTK, Kaldi and the TIMIT literature
FLOOR = 1e-10  # minimum energy, so that digital silence has a logarithm


def windows(samples: Num[np.ndarray, " samples"], rate: int) -> Num[np.ndarray, "frames width"]:
    """The windows of 25 ms every 10 ms that lie within the samples, at `rate` samples per second.

    Fewer samples than a window are padded with silence.
    """
    width, hop = round(WINDOW * rate), round(HOP * rate)
    samples = np.pad(samples, (0, max(0, width - len(samples))))
    return np.lib.stride_tricks.sliding_window_view(samples, width)[::hop]


def log_mel(samples: Num[np.ndarray, " samples"], rate: int, bands: int) -> Float[np.ndarray, "frames bands"]:
    """The natural logarithm of the energy in each band for each window (`windows`).

    Samples range from -1 to 1. Uses Hann windows, FFTs of the next power of two and triangular filters (`mel_filters`).
    """
    frames = windows(samples, rate)
    width = frames.shape[1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    size = 1 << (width - 1).bit_length()
    power = np.abs(np.fft.rfft(frames * window[None, :], size)) ** 2
    return np.log(np.maximum(power @ mel_filters(bands, size, rate).T, FLOOR))


def mel_filters(bands: int, size: int, rate: int) -> Float[np.ndarray, "bands frequencies"]:
    """Weights of the `size // 2 + 1` frequencies of a spectrum in each band.

    Triangles of height 1 whose feet are their neighbours' peaks, equally spaced from 0 to rate / 2 on the mel scale
    2595 log10(1 + f / 700) of O'Shaughnessy (1987).
    """
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.arange(size // 2 + 1) * rate / size
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies[None, :] - low) / (peak - low)
    falling = (high - frequencies[None, :]) / (high - peak)
    return np.minimum(rising, falling).clip(min=0)
