"""Spoken digits: waveforms with digit and speaker."""

from pathlib import Path

import numpy as np

from lab.data.dataset import SPLITS, Dataset

RATE = 8000
"""Samples per second."""
SHA256 = "0113b50ecbb1745c3e4269dead077ec7b0d8adcc11ec9b7b07c202ea046d91f2"
"""`checksums.of_splits` of the arrays."""


def spoken_digits(data_dir: Path | None = None) -> Dataset:
    """2000, 250 and 250 recordings of ten digits by five speakers, who all occur in every split. Each split has

    - `audio`: int16 [n, 18262], mono at `RATE`, zero-padded to the longest recording;
    - `length`: int32 [n], the number of samples;
    - `label`: int32 [n], the digit; `speaker`: int32 [n], the index in `spoken_digit.SPEAKERS`.

    The split depends on the number of the recording (`spoken_digit.split_of`). The provenance has `archive_sha256`,
    that of the archive registered by TFDS or of the one with only the recordings. Raises FileNotFoundError if neither
    is on this machine and the archive cannot be downloaded, and ValueError if the archive or the prepared set has
    another sha256.
    """
    # Imported lazily: TensorFlow Datasets takes 1 s to import.
    from lab.data.sets import spoken_digit
    from lab.data.tfds import prepared

    builder = prepared.prepare(spoken_digit.SpokenDigit, data_dir)
    rows = {split: list(source) for split, source in prepared.examples(builder).items()}
    longest = max(len(row["audio"]) for split in SPLITS for row in rows[split])
    splits = {
        split: {
            "audio": np.stack([np.pad(row["audio"], (0, longest - len(row["audio"]))) for row in rows[split]]),
            "length": np.asarray([len(row["audio"]) for row in rows[split]], np.int32),
            "label": np.asarray([row["label"] for row in rows[split]], np.int32),
            "speaker": np.asarray([row["speaker"] for row in rows[split]], np.int32),
        }
        for split in SPLITS
    }
    return prepared.dataset(builder, splits, SHA256, archive_sha256=builder.info.metadata["archive_sha256"])
