"""ELTeC-eng: 94 English novels from 1840 to 1920, split by author (COST-ELTeC, DOI 10.5281/zenodo.4662490)."""

import csv
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tensorflow_datasets as tfds

from lab.data.tfds import prepared
from lab.data.tfds.published import PublishedText

# Release 1.0.1, whose texts are all in the public domain, without Reynolds's novel and those of the five authors who
# died after 1955. The table has one row per novel: split, and size and sha256 of its file.
HOST = "https://raw.githubusercontent.com/COST-ELTeC/ELTeC-eng/3db3b6738a836f0e1b276b6c9703e42f4297f978/level1"
TABLE = Path(__file__).with_suffix(".tsv")
NOVELS = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines(), delimiter="\t"))

TEI = "{http://www.tei-c.org/ns/1.0}"
PARAGRAPHS = {f"{TEI}{tag}" for tag in ("p", "l", "head", "label", "trailer", "quote")}
BREAK = "\0"  # cannot occur in XML


def _url(novel: str) -> str:
    return f"{HOST}/{novel}.xml"


SHA256 = {
    "train": "9b37290268aeaf94f73e81f58b01696af2602772cfb3bf68c799fcf1787f8e41",
    "validation": "ead6d672237cb704359bab5fc27c0a2407ce43e135c48b72001a9fa501ffd8c2",
    "test": "a14f48141dac5afaa6f2dd5c699ba671526c0c3c8f69ab75bd5eeda33158f529",
}
MANUAL = dict(zip(("train.txt", "valid.txt", "test.txt"), SHA256.values(), strict=True))
REGISTERED = {
    _url(row["novel"]): prepared.UrlInfo(int(row["bytes"]), row["sha256"], f"{row['novel']}.xml") for row in NOVELS
}


class EltecEng(PublishedText, skip_registration=True):  # type: ignore[call-arg]
    """The text of the novels without markup and notes.

    It is read from `downloads/manual/eltec_eng/` (`train.txt`, `valid.txt`, `test.txt`, uncompressed or as `.xz`), or
    else created from the 94 published XML files, which are downloaded.
    """

    name = "eltec_eng"
    VERSION = tfds.core.Version("1.0.1")
    SHA256 = SHA256
    MANUAL = MANUAL
    url_infos = REGISTERED

    def texts(self, dl_manager: Any) -> dict[str, bytes]:
        """The novels of a split, concatenated."""
        return {
            split: prepared.manual(self, dl_manager, name) or self._made(dl_manager, split)
            for split, name in zip(SHA256, MANUAL, strict=True)
        }

    def _made(self, dl_manager: Any, split: str) -> bytes:
        urls = [_url(row["novel"]) for row in NOVELS if row["split"] == split]
        return b"".join(plain_text(prepared.downloaded(self, dl_manager, url).read_bytes()) for url in urls)


def plain_text(xml: bytes) -> bytes:
    """A novel in TEI as UTF-8 (NFC): front and body without notes, white space collapsed, a blank line between
    paragraphs and two at the end."""
    root = ElementTree.fromstring(xml)
    parts = [part for place in ("front", "body") for part in _parts(root.find(f"{TEI}text/{TEI}{place}"))]
    paragraphs = (" ".join(paragraph.split()) for paragraph in "".join(parts).split(BREAK))
    return unicodedata.normalize("NFC", "\n\n".join(filter(None, paragraphs)) + "\n\n\n").encode()


def _parts(element: ElementTree.Element | None) -> list[str]:
    """The text of an element in pieces, with a break before and after each paragraph."""
    if element is None or element.tag == f"{TEI}note":
        return []
    within = [element.text or ""]
    for child in element:
        within += [*_parts(child), child.tail or ""]
    return [BREAK, *within, BREAK] if element.tag in PARAGRAPHS else within
