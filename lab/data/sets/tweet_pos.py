"""The tweets of the GELU paper (Hendrycks and Gimpel 2016, arXiv:1606.08415) as a set of TFDS."""

from typing import Any

import tensorflow_datasets as tfds

from lab.data.tfds import prepared
from lab.data.tfds.prepared import UrlInfo

TAGS = tuple("!#$&,@ADEGLMNOPRSTUVXYZ^~")
# Oct27 of TweetNLP 0.3 (Owoputi et al. 2012), lower-cased, with user names and addresses replaced. CC BY 3.0.
HOST = "https://raw.githubusercontent.com/hendrycks/GELUs/2726505c4767eed99dfd89ce0f836fbca44d6a6d/data/Tweets"
FILES = {
    "train": UrlInfo(107_384, "0eeb02801b1097aa32bfac490a61c0919c9e74f2c74dd0048b520041bf218f7c", "tweets-train.txt"),
    "validation": UrlInfo(35_699, "304eedc25cf601111ed2daac954092a026e11bc515effda8f9de09616e91dbc8", "tweets-dev.txt"),
    "test": UrlInfo(52_184, "5bb2323a63a17d073468b9436980232e2e7b92d0dc1e5e46e722aae189229e3c", "tweets-devtest.txt"),
}
REGISTERED = {f"{HOST}/{file.filename}": file for file in FILES.values()}
MANUAL = {file.filename: file.checksum for file in FILES.values()}


class TweetPos(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """One example per tweet, in the order of the files, which are read from `downloads/manual/tweet_pos/`, or else
    downloaded."""

    name = "tweet_pos"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL = MANUAL
    url_infos = REGISTERED

    def _info(self) -> Any:
        words = tfds.features.Sequence(tfds.features.Text())
        tags = tfds.features.Sequence(tfds.features.ClassLabel(names=TAGS))
        features = tfds.features.FeaturesDict({"words": words, "tags": tags})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {
            split: self._generate_examples(prepared.manual_or_downloaded(self, dl_manager, url).decode())
            for split, url in zip(FILES, REGISTERED, strict=True)
        }

    def _generate_examples(self, text: str) -> Any:
        for index, tweet in enumerate(text.strip("\n").split("\n\n")):
            words, tags = zip(*(line.split("\t") for line in tweet.split("\n")), strict=True)
            yield index, {"words": words, "tags": tags}
