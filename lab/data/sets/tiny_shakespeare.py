"""Tiny Shakespeare: 40 000 lines of the plays, the corpus of char-rnn (Karpathy 2015), as TFDS defines it."""

from typing import Any

from tensorflow_datasets.datasets.tiny_shakespeare import tiny_shakespeare_dataset_builder as stock

from lab.data.tfds import prepared
from lab.data.tfds.published import PublishedText

((URL, REGISTERED),) = stock.Builder.url_infos.items()
SHA256 = {
    "train": "a9e24e23a1ec77744dad26844bfd5a09b6e041954e1eef0000e7f24cba6db735",
    "validation": "c64e90c160750d91a9d2d9b1ace5eab1a440f5a1701d32a8e97a179b7839f1c8",
    "test": "8b5a8c8af45905547ad03b7aae6980a277a5dd78924a6e6ac64b75d63d7d40bd",
}


class TinyShakespeare(PublishedText, skip_registration=True):  # type: ignore[call-arg]
    """Has the name, version, checksum and splits of the TFDS builder, which reads its file with TensorFlow."""

    name = "tiny_shakespeare"
    VERSION = stock.Builder.VERSION
    url_infos = stock.Builder.url_infos
    SHA256 = SHA256

    def texts(self, dl_manager: Any) -> dict[str, bytes]:
        """The file, split at 90 % and 95 %."""
        text = prepared.downloaded(self, dl_manager, URL).read_bytes()
        train = int(len(text) * 0.9)
        validation = train + (len(text) - train) // 2
        return {"train": text[:train], "validation": text[train:validation], "test": text[validation:]}
