"""MNIST and Fashion-MNIST, as TFDS defines them."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.image_classification import mnist as stock

from lab.data.tfds import prepared


class _Idx(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Reads the four idx files with gzip and NumPy. The builders of TFDS read and encode them with TensorFlow."""

    URL: str
    ARRAYS_SHA256: str
    """`checksums.of_splits` of the arrays that `lab.data.images.images` returns."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        def file(name: str) -> Path:
            return prepared.downloaded(self, dl_manager, f"{self.URL}{name}-ubyte.gz")

        return {
            split: self._generate_examples(file(f"{word}-images-idx3"), file(f"{word}-labels-idx1"))
            for split, word in (("train", "train"), ("test", "t10k"))
        }

    def _generate_examples(self, images: Path, labels: Path) -> Any:
        for index, (image, label) in enumerate(zip(_idx(images, 3), _idx(labels, 1), strict=True)):
            # An image and not an array, which TFDS would encode with TensorFlow.
            yield index, {"image": Image.fromarray(image), "label": int(label)}


class MNIST(_Idx, skip_registration=True):  # type: ignore[call-arg]
    """Has the name, version, checksums, splits and order of the TFDS builder."""

    name = "mnist"
    VERSION = stock.MNIST.VERSION
    URL = stock.MNIST.URL
    url_infos = stock.MNIST.url_infos
    _info = stock.MNIST._info
    ARRAYS_SHA256 = "26020b70ea9e2c5146729084c521c5971d047d47449a84b39fe651f8548397f6"


class FashionMNIST(_Idx, skip_registration=True):  # type: ignore[call-arg]
    """Has the name, version, checksums, splits and order of the TFDS builder."""

    name = "fashion_mnist"
    VERSION = stock.FashionMNIST.VERSION
    URL = stock.FashionMNIST.URL
    url_infos = stock.FashionMNIST.url_infos
    _info = stock.FashionMNIST._info
    ARRAYS_SHA256 = "0258a293a0eec8c3fe7d5347e9a26f32532288b2a45eb7ff4192ad297662c7ab"


def _idx(path: Path, rank: int) -> np.ndarray:
    """The array of an idx file, whose bytes follow a header of big-endian words (type and rank, then the shape)."""
    content = gzip.decompress(path.read_bytes())
    header = np.frombuffer(content, ">i4", count=1 + rank)
    return np.frombuffer(content, np.uint8, offset=header.nbytes).reshape(header[1:])
