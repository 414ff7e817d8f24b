"""Phone classification: 39 phones in the sentences of TIMIT."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.data.audio.log_mel import HOP, WINDOW
from lab.data.audio.mfcc import mfcc
from lab.data.dataset import Dataset
from lab.data.sets.timit import CLASSES, RATE, timit
from lab.tasks.audio.frames import Frames, moments


@dataclass(frozen=True)
class Phones(Frames):
    """Predict the phone at the middle of each frame (Hendrycks and Gimpel 2016, section 3.4). An example is a sentence.

    Raises ValueError without a folder and for a number out of range.
    """

    folder: str = ""
    """The TIMIT folder with TRAIN and TEST; see lab.data.sets.timit."""
    frames: int = 800
    """Maximum number of classified frames per sentence; 8 seconds exceed the longest sentence (7.8)."""
    softmax: int = len(CLASSES)
    """Number of outputs, of which the first 39 are used; the authors' code has 2048."""
    mean_subtractions: int = 1
    """How often the mean of train is subtracted from validation and test; 2 in the authors' code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.folder:
            raise ValueError("folder is empty: it must be the TIMIT folder with TRAIN and TEST")
        if self.softmax < len(CLASSES):
            raise ValueError(f"softmax must be at least {len(CLASSES)}, the number of phones, not {self.softmax}")
        if self.mean_subtractions not in (1, 2):
            raise ValueError(f"mean_subtractions must be 1 or 2, not {self.mean_subtractions}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return "speech:timit"

    @property
    def classes(self) -> int:
        """Number of outputs of a model."""
        return self.softmax

    def load(self, data_dir: Path | None = None) -> Dataset:
        """Every split with `features` and `label` as returned by `stacked`: the 26 numbers of `mfcc`, and the phone at
        the middle of each window.

        Features are standardized by mean and standard deviation over the frames of train. Raises what `timit` raises.
        """
        dataset = timit(self.folder)
        features = {split: _features(fields) for split, fields in dataset.arrays.items()}
        mean, deviation = moments(features["train"])
        times = {"train": 1, "validation": self.mean_subtractions, "test": self.mean_subtractions}
        arrays = {
            split: self.stacked([(rows - times[split] * mean) / deviation for rows in features[split]], _labels(fields))
            for split, fields in dataset.arrays.items()
        }
        return Dataset(arrays, dataset.provenance)

    def check(self, dataset: Dataset) -> None:
        """Does nothing: the sentences fit any fields."""


def _features(fields: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The features of each sentence, f32 [frames, 26]."""
    return [mfcc(audio / 2**15, RATE).astype(np.float32) for audio in _each(fields, "audio")]


def _labels(fields: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The class at the middle of every window within each sentence, [frames]."""
    middle, hop = round(WINDOW * RATE) // 2, round(HOP * RATE)
    return [phone[middle : len(phone) - middle + 1 : hop] for phone in _each(fields, "phone")]


def _each(fields: Mapping[str, np.ndarray], field: str) -> list[np.ndarray]:
    """A field, split by sentence."""
    return np.split(fields[field], np.cumsum(fields["length"])[:-1])
