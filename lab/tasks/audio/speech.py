"""Spoken digits, predicted for every frame and for the whole recording."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lab.data.audio.log_mel import log_mel
from lab.data.dataset import Dataset
from lab.data.speech import RATE, spoken_digits
from lab.tasks.audio.frames import NONE, Frames, moments
from lab.tasks.examples import weighted

DIGITS = 10


@dataclass(frozen=True)
class SpokenDigits(Frames):
    """Predict the digit of each frame, as for TIMIT in the GELU paper (Hendrycks and Gimpel 2016); the digit of a
    recording is the one with the largest mean log-probability.

    The default of 64 frames, 0.66 seconds, covers 97 % of the training recordings completely. Raises ValueError for a
    number out of range.
    """

    directions: ClassVar[Mapping[str, str]] = {"frame_error": "min", "accuracy": "max"}

    bands: int = 26
    """Mel bands of each 25 ms frame, one every 10 ms; see lab.data.audio.log_mel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bands < 1:
            raise ValueError(f"bands must be at least 1, not {self.bands}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return "speech:spoken_digit"

    @property
    def classes(self) -> int:
        """The digits."""
        return DIGITS

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `features` and `label` as returned by `stacked`: log-mel spectra, and the digit of the
        recording for each of its frames.

        Bands are standardized by mean and standard deviation over the frames of train. Raises as `spoken_digits` does.
        """
        dataset = spoken_digits(data_dir)
        spectra = {split: self._spectra(fields) for split, fields in dataset.arrays.items()}
        mean, deviation = moments(spectra["train"])
        arrays = {}
        for split, fields in dataset.arrays.items():
            rows = [(own - mean) / deviation for own in spectra[split]]
            digits = [np.full(len(own), digit) for own, digit in zip(rows, fields["label"], strict=True)]
            arrays[split] = self.stacked(rows, digits)
        return Dataset(arrays, dataset.provenance)

    def check(self, dataset: Dataset) -> None:
        """Does nothing: the recordings fit any fields."""

    def metrics(
        self, outputs: Float[Array, "batch frames digits"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """The metrics of frames, and `accuracy`, the fraction of recordings classified correctly.

        Raises ValueError if the model has another number of digits.
        """
        of_frames = super().metrics(outputs, batch)
        own = (batch["label"] != NONE).astype(jnp.float32)
        evidence = jnp.sum(own[..., None] * jax.nn.log_softmax(outputs.astype(jnp.float32)), axis=1)
        right = (evidence.argmax(axis=-1) == batch["label"][:, 0]).astype(jnp.float32)
        return {**of_frames, "accuracy": weighted(right, batch["weight"])}

    def _spectra(self, fields: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The log-mel spectra of all recordings, each [frames, bands]."""
        rows = zip(fields["audio"], fields["length"], strict=True)
        return [log_mel(audio[:length] / 2**15, RATE, self.bands) for audio, length in rows]
