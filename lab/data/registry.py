"""The built-in sets by name: a new one needs a file in `lab.data.sets` and a line here."""

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A built-in set: kind (text, image, tags, speech), licence, builder (`module.Class` in `lab.data.sets`) and the
    sizes of train, validation and test (bytes of text, else examples; empty if they depend on the machine)."""

    kind: str
    licence: str
    builder: str
    sizes: tuple[int, ...] = ()


SETS = {
    "eltec_eng": Entry("text", "public domain", "eltec_eng.EltecEng", (56_232_180, 2_649_829, 2_922_595)),
    "fashion_mnist": Entry("image", "MIT", "mnist.FashionMNIST", (55_000, 5000, 10_000)),
    "mnist": Entry("image", "CC BY-SA 3.0", "mnist.MNIST", (55_000, 5000, 10_000)),
    "spoken_digit": Entry("speech", "CC BY-SA 4.0", "spoken_digit.SpokenDigit", (2000, 250, 250)),
    "stdlib": Entry("text", "PSF-2.0", "stdlib.PythonStdlib"),
    "tiny_shakespeare": Entry("text", "public domain", "tiny_shakespeare.TinyShakespeare", (1_003_854, 55_770, 55_770)),
    "tweet_pos": Entry("tags", "CC BY 3.0", "tweet_pos.TweetPos", (14_619, 4823, 7152)),
    "wikitext2": Entry("text", "CC BY-SA 3.0", "wikitext2.WikiText2", (10_797_148, 1_121_681, 1_256_449)),
}
"""The builder of a text is a `lab.data.tfds.published.PublishedText`, or another one with a method `documents`; image
arrays are compared with the builder's `ARRAYS_SHA256`."""


def names(kind: str) -> tuple[str, ...]:
    """The sets of a kind."""
    return tuple(name for name, entry in SETS.items() if entry.kind == kind)


def builder(name: str) -> Any:
    """The builder class of a set; takes a second, as it imports TensorFlow Datasets."""
    module, attribute = SETS[name].builder.split(".")
    return getattr(importlib.import_module(f"lab.data.sets.{module}"), attribute)
