"""Tiny Shakespeare: 40 000 lines of the plays, the corpus of char-rnn (Karpathy 2015), as TFDS defines it."""

import hashlib
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.datasets.tiny_shakespeare import tiny_shakespeare_dataset_builder as stock

from tasks.data import prepared
from tasks.task import SPLITS

((URL, REGISTERED),) = stock.Builder.url_infos.items()


def read(data_dir: Path | None = None) -> tuple[dict[str, list[bytes]], dict[str, Any]]:
    """The text of every split, and the version.

    Raises FileNotFoundError when the text is neither in the download cache nor to be had from its host, and ValueError
    when the cached file or the prepared set does not have the sha256 that TFDS registers.
    """
    splits = prepared.examples(TinyShakespeare, data_dir)
    texts = {split: [example["text"] for example in splits[split]] for split in SPLITS}
    if hashlib.sha256(b"".join(b"".join(text) for text in texts.values())).hexdigest() != REGISTERED.checksum:
        place = prepared.data_directory(data_dir) / TinyShakespeare.name / str(TinyShakespeare.VERSION)
        raise ValueError(f"the prepared set {place} does not have the registered sha256; remove the folder")
    return texts, {"version": str(TinyShakespeare.VERSION), "files": 1}


class TinyShakespeare(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The stock builder's name, version, checksum and splits. The stock one reads its file through TensorFlow."""

    name = "tiny_shakespeare"
    VERSION = stock.Builder.VERSION
    url_infos = stock.Builder.url_infos

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        text = prepared.downloaded(self, dl_manager, URL).read_bytes()
        train = int(len(text) * 0.9)
        validation = train + (len(text) - train) // 2
        splits = {"train": text[:train], "validation": text[train:validation], "test": text[validation:]}
        return {split: self._generate_examples(split, text) for split, text in splits.items()}

    def _generate_examples(self, split: str, text: bytes) -> Any:
        yield split, {"text": text}
