"""A published text as a set of TFDS: one example per split, with a known sha256."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from lab.data.dataset import SPLITS
from lab.data.tfds import prepared
from lab.files import checksums


class PublishedText(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base class of such sets; they differ in `texts`, which returns the text of every split."""

    SHA256: ClassVar[dict[str, str]]
    """Split -> sha256 of its text."""

    @abstractmethod
    def texts(self, dl_manager: Any) -> dict[str, bytes]:
        """Split -> text, from checked files."""

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: self._generate_examples(split, text) for split, text in self.texts(dl_manager).items()}

    def _generate_examples(self, split: str, text: bytes) -> Any:
        yield split, {"text": text}

    @classmethod
    def documents(cls, data_dir: Path | None) -> tuple[dict[str, list[bytes]], dict[str, Any]]:
        """The text of every split, prepared first if necessary, and the version.

        Raises FileNotFoundError if the text is not on this machine and cannot be downloaded, and ValueError if a
        source file or the prepared set does not have the registered sha256.
        """
        builder = prepared.prepare(cls, data_dir)
        sources = prepared.examples(builder)
        texts = {split: [example["text"] for example in sources[split]] for split in SPLITS}
        for split, sha256 in cls.SHA256.items():
            if checksums.of_bytes(b"".join(texts[split])) != sha256:
                raise ValueError(
                    f"the {split} split of the prepared set {builder.data_path} does not have the registered sha256; "
                    f"remove the folder"
                )
        return texts, {"version": str(builder.version), "files": len(cls.url_infos or {})}
