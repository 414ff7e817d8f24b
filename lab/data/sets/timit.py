"""TIMIT (Garofolo et al. 1993, LDC93S1), not free: read sentences of American English with aligned phones."""

import re
from pathlib import Path

import numpy as np

from lab.data.audio import pcm
from lab.data.dataset import SPLITS, Dataset
from lab.files import checksums

RATE = 16000
"""Samples per second."""
ALONE = "ae aw ay b ch d dh dx eh ey f g iy jh k ow oy p r s t th uh v w y z"
"""Phones that form their own class."""
FOLDED = {
    **{name: (name,) for name in ALONE.split()},
    "aa": ("aa", "ao"),
    "ah": ("ah", "ax", "ax-h"),
    "er": ("er", "axr"),
    "hh": ("hh", "hv"),
    "ih": ("ih", "ix"),
    "l": ("l", "el"),
    "m": ("m", "em"),
    "n": ("n", "en", "nx"),
    "ng": ("ng", "eng"),
    "sh": ("sh", "zh"),
    "sil": ("bcl", "dcl", "gcl", "kcl", "pcl", "tcl", "epi", "h#", "pau"),
    "uw": ("uw", "ux"),
}
"""Class -> its phones (Lee and Hon 1989, table II): 60 of TIMIT's 61 in 39 classes."""
CLASSES = tuple(sorted(FOLDED))
NONE = -1
"""The class of a sample that no phone covers, and of the glottal stop `q`, which Lee and Hon leave out."""
CLASS = {phone: CLASSES.index(name) for name, phones in FOLDED.items() for phone in phones} | {"q": NONE}
CORE = {
    "DR1": ("FELC0", "MDAB0", "MWBT0"),
    "DR2": ("FPAS0", "MTAS1", "MWEW0"),
    "DR3": ("FPKT0", "MJMP0", "MLNT0"),
    "DR4": ("FJLM0", "MLLL0", "MTLS0"),
    "DR5": ("FNLP0", "MBPM0", "MKLT0"),
    "DR6": ("FMGD0", "MCMJ0", "MJDH0"),
    "DR7": ("FDHC0", "MGRT0", "MNJM0"),
    "DR8": ("FMLD0", "MJLN0", "MPAM0"),
}
"""Dialect region -> the speakers of the core test set (TIMIT's testset.doc)."""
SENTENCES = {"train": 3696, "validation": 1152, "test": 192}
"""Eight each of 462, 144 and 24 speakers; the SA sentences, which all speakers read, are left out."""
SOUND = (".wav", ".sph", ".riff")


def timit(folder: str) -> Dataset:
    """The sentences in a folder that has TRAIN and TEST, ordered by dialect, speaker and name. Each split has

    - `length`: int32 [sentences], the number of samples of each;
    - `audio`: int16 [samples], mono at `RATE`, all sentences concatenated;
    - `phone`: int8 [samples], the index in `CLASSES` of the phone being spoken, or `NONE`.

    Test is the core test set, validation the other speakers of TEST. File names may be in upper or lower case; audio
    may be NIST SPHERE or RIFF. Raises FileNotFoundError if there is no such folder or a sentence has no audio, and
    ValueError, naming the file, if a file is invalid or sentences are missing.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}: it must be the TIMIT folder with TRAIN and TEST")
    paths = _sentences(root)
    found = {split: len(paths[split]) for split in SPLITS}
    if found != SENTENCES:
        raise ValueError(f"{root} has {_counts(found)}: it must have {_counts(SENTENCES)}, in TRAIN and TEST")
    splits = {split: _joined([_sentence(path) for path in paths[split]]) for split in SPLITS}
    return Dataset(
        arrays=splits,
        provenance={
            "name": "timit",
            "version": None,
            "sha256": checksums.of_splits(splits),
            "classes": list(CLASSES),
            "splits": checksums.described(splits),
        },
    )


def split_of(part: str, dialect: str, speaker: str) -> str:
    """The split of a speaker of TRAIN or TEST."""
    return "train" if part == "TRAIN" else "test" if speaker in CORE.get(dialect, ()) else "validation"


def _sentences(root: Path) -> dict[str, list[Path]]:
    """The phone files (.PHN) of every split, in an order that does not depend on the case of the names."""
    splits: dict[str, list[Path]] = {split: [] for split in SPLITS}
    named = {tuple(part.upper() for part in path.parts[-4:]): path for path in root.glob("*/*/*/*")}
    for (part, dialect, speaker, name), path in sorted(named.items()):
        if part in ("TRAIN", "TEST") and re.fullmatch(r"S[IX]\d+\.PHN", name):
            splits[split_of(part, dialect, speaker)].append(path)
    return splits


def _counts(sizes: dict[str, int]) -> str:
    return ", ".join(f"{sizes[split]} sentences for {split}" for split in SPLITS)


def _sentence(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The samples, int16 [n], and the class of each, int8 [n]."""
    audio = pcm.samples(_sound(path), RATE)
    phone = np.full(len(audio), NONE, np.int8)
    for line in path.read_text("ascii", "replace").splitlines():
        words = line.split()
        if len(words) != 3 or not (words[0] + words[1]).isdecimal() or words[2] not in CLASS:
            raise ValueError(f"{path} has the line {line!r}: expected first sample, end and one of TIMIT's 61 phones")
        phone[int(words[0]) : int(words[1])] = CLASS[words[2]]
    return audio, phone


def _sound(path: Path) -> Path:
    """The audio file of a phone file: SX1.WAV, sx1.wav or SX1.WAV.wav beside SX1.PHN."""
    stem = f"{path.stem.upper()}."
    beside = sorted(path.parent.iterdir())
    found = [other for other in beside if other.name.upper().startswith(stem) and other.suffix.lower() in SOUND]
    if not found:
        raise FileNotFoundError(f"{path} has no audio file beside it: expected {path.stem}.WAV")
    return found[0]


def _joined(sentences: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    audio, phone = zip(*sentences, strict=True)
    return {
        "length": np.array([len(samples) for samples in audio], np.int32),
        "audio": np.concatenate(audio),
        "phone": np.concatenate(phone),
    }
