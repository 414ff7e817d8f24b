"""Speech: which digit is spoken, told of every frame and decided for the whole recording."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tasks.data.speech import RATE, spoken_digits
from tasks.examples import Examples, check_outputs, cross_entropy, weighted
from tasks.log_mel import log_mel
from tasks.task import Dataset

DIGITS = 10


@dataclass(frozen=True)
class SpokenDigits(Examples):
    """Tell the digit from each frame with its neighbours, as frames of TIMIT are classified in the GELU paper
    (Hendrycks and Gimpel 2016); the digit of a recording is the one with the largest mean log-probability.

    An example is a recording. Raises ValueError for a number out of range.
    """

    bands: int = 26
    """Mel bands of a frame of 25 ms, one every 10 ms; see tasks.log_mel."""
    context: int = 11
    """Frames that a model sees, the classified one in the middle."""
    frames: int = 64
    """Frames of a recording that are classified, at most: 0.66 seconds, all of 97 % of the training recordings."""

    def __post_init__(self) -> None:
        if self.context < 1 or self.context % 2 == 0:
            raise ValueError(f"context must be an odd number of frames, not {self.context}")
        if self.bands < 1:
            raise ValueError(f"bands must be at least 1, not {self.bands}")
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, not {self.frames}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return "speech:spoken_digit"

    @property
    def tokens_per_example(self) -> int:
        """Predictions in one example, at most."""
        return self.frames

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `spectra`, f32 [n, frames + context - 1, bands], `n_frames`, int32 [n], how many are
        classified, and `digit`, int32 [n].

        A recording is preceded by copies of its first frame and followed by copies of its last one. Bands are
        standardized by their mean and deviation over the frames of train. Raises what `spoken_digits` raises.
        """
        dataset = spoken_digits(data_dir)
        spectra = {split: self._spectra(fields) for split, fields in dataset.arrays.items()}
        train = np.concatenate(spectra["train"])
        mean, deviation = train.mean(axis=0, keepdims=True), train.std(axis=0, keepdims=True)
        arrays = {
            split: {
                "spectra": np.stack([self._around((rows - mean) / deviation) for rows in spectra[split]]),
                "n_frames": np.array([min(len(rows), self.frames) for rows in spectra[split]], np.int32),
                "digit": fields["label"],
            }
            for split, fields in dataset.arrays.items()
        }
        return Dataset(arrays, dataset.provenance)

    def check(self, dataset: Dataset) -> None:
        """The recordings fit whatever the fields are."""

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Float[Array, "batch frames context bands"]]:
        """Every frame with its neighbours."""
        seen = np.arange(self.frames)[:, None] + np.arange(self.context)[None, :]
        return (batch["spectra"][:, seen],)

    def loss(self, outputs: Float[Array, "batch frames digits"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the digit over the frames of all recordings, in nats."""
        total, count = weighted(self._nats(outputs, batch), self._real(batch))
        return total / count

    def metrics(
        self, outputs: Float[Array, "batch frames digits"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Array, Array]]:
        """`loss`, the cross-entropy of a frame in nats; `frame_error`, the share of frames that are told wrong; and
        `accuracy`, the share of recordings that are told right.

        Raises ValueError when the model tells of another number of digits.
        """
        digit, recordings, frames = batch["digit"], batch["weight"], self._real(batch)
        check_outputs(outputs, (len(digit), self.frames, DIGITS))
        wrong = (outputs.argmax(axis=-1) != digit[:, None]).astype(jnp.float32)
        evidence = jnp.sum(frames[..., None] * jax.nn.log_softmax(outputs.astype(jnp.float32)), axis=1)
        right = (evidence.argmax(axis=-1) == digit).astype(jnp.float32)
        return {
            "loss": weighted(self._nats(outputs, batch), frames),
            "frame_error": weighted(wrong, frames),
            "accuracy": weighted(right, recordings),
        }

    def _spectra(self, fields: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The log-mel spectra of all recordings, each [frames, bands]."""
        rows = zip(fields["audio"], fields["length"], strict=True)
        return [log_mel(audio[:length] / 2**15, RATE, self.bands) for audio, length in rows]

    def _around(self, spectra: Float[np.ndarray, "own bands"]) -> Float[np.ndarray, "frames_and_context bands"]:
        """As many frames as an example has, with their neighbours; the first and the last one stand for what is beyond
        the recording."""
        places = np.arange(self.frames + self.context - 1) - self.context // 2
        return spectra[places.clip(0, len(spectra) - 1)].astype(np.float32)

    def _nats(self, outputs: Array, batch: Mapping[str, Array]) -> Float[Array, "batch frames"]:
        digits = jnp.broadcast_to(batch["digit"][:, None], outputs.shape[:2])
        return cross_entropy(outputs, digits)

    def _real(self, batch: Mapping[str, Array]) -> Float[Array, "batch frames"]:
        """1 for a frame of the recording and 0 for those that fill the array; what fills a batch has none."""
        return (jnp.arange(self.frames)[None, :] < batch["n_frames"][:, None]).astype(jnp.float32)
