"""WikiText-2: 2 million words of good and featured Wikipedia articles (Merity et al. 2016, arXiv:1609.07843)."""

from typing import Any

import tensorflow_datasets as tfds

from lab.data.tfds import prepared
from lab.data.tfds.published import PublishedText

# The published tokenized files, byte for byte, as in PyTorch's examples. CC BY-SA 3.0, by Wikipedia's authors.
HOST = "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8"
FOLDER = f"{HOST}/word_language_model/data/wikitext-2"
SHA256 = {
    "train": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
    "validation": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    "test": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
}
REGISTERED = {
    f"{FOLDER}/train.txt": prepared.UrlInfo(10_797_148, SHA256["train"], "wiki.train.tokens"),
    f"{FOLDER}/valid.txt": prepared.UrlInfo(1_121_681, SHA256["validation"], "wiki.valid.tokens"),
    f"{FOLDER}/test.txt": prepared.UrlInfo(1_256_449, SHA256["test"], "wiki.test.tokens"),
}
MANUAL = {file.filename: file.checksum for file in REGISTERED.values()}


class WikiText2(PublishedText, skip_registration=True):  # type: ignore[call-arg]
    """The word-level files with their `<unk>`, as text.

    They are read from `downloads/manual/wikitext2/` (`wiki.train.tokens`, `wiki.valid.tokens`, `wiki.test.tokens`,
    uncompressed or as `.xz`), or else downloaded.
    """

    name = "wikitext2"
    VERSION = tfds.core.Version("1.0.0")
    SHA256 = SHA256
    MANUAL = MANUAL
    url_infos = REGISTERED

    def texts(self, dl_manager: Any) -> dict[str, bytes]:
        """The three files."""
        return {
            split: prepared.manual_or_downloaded(self, dl_manager, url)
            for split, url in zip(SHA256, REGISTERED, strict=True)
        }
