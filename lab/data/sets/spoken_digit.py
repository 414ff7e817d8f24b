"""The Free Spoken Digit Dataset (Jakobovski et al., version 1.0.9, CC BY-SA 4.0) as a set of TFDS."""

import tarfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.datasets.spoken_digit import spoken_digit_dataset_builder as stock

from lab.data.dataset import SPLITS
from lab.data.tfds import prepared
from lab.files import checksums

SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")
((URL, REGISTERED),) = stock.Builder.url_infos.items()
DATA_ONLY = "4c03954b7183ce489250c3b1bfca64721b4700881a139d78aa99283fbab80834"
"""The sha256 of the same archive with only the recordings and the README."""


class SpokenDigit(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Raw samples in three splits, ordered by digit, speaker and number. It is a separate configuration, because the
    TFDS set of this name has one split and a feature that only TensorFlow reads."""

    name = "spoken_digit"
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="pcm16", version=stock.Builder.VERSION)]
    url_infos = stock.Builder.url_infos
    ALSO = (DATA_ONLY,)

    def _info(self) -> Any:
        features = {
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16),
            "label": tfds.features.ClassLabel(num_classes=10),
            "speaker": tfds.features.ClassLabel(names=SPEAKERS),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        archive = prepared.downloaded(self, dl_manager, URL)
        self.info.metadata["archive_sha256"] = checksums.of_file(archive)
        recordings = sorted(_recordings(archive), key=lambda recording: recording[0])
        return {split: self._generate_examples(split, recordings) for split in SPLITS}

    def _generate_examples(self, split: str, recordings: list[Any]) -> Any:
        for index, ((digit, speaker, number), samples) in enumerate(recordings):
            if split_of(number) == split:
                yield index, {"audio": samples, "label": digit, "speaker": speaker}


def split_of(number: int) -> str:
    """The split of a recording: 0 to 4 are the official test set (see the set's README); of the others, 5 to 49, the
    first five are for validation."""
    return SPLITS[2] if number < 5 else SPLITS[1] if number < 10 else SPLITS[0]


def _recordings(archive: Path) -> Iterator[tuple[tuple[int, str, int], np.ndarray]]:
    """(digit, speaker, number) and the samples, int16 [n], of every recording, in the order of the archive."""
    with tarfile.open(archive) as files:
        for member in files:
            file = files.extractfile(member)
            if file is not None and member.name.endswith(".wav"):
                digit, speaker, number = Path(member.name).stem.split("_")
                with wave.open(file) as sound:
                    samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
                yield (int(digit), speaker, int(number)), samples
