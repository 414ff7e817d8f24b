"""Tokenizers: turns a corpus of bytes into tokens, and counts the bytes that each token stands for."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer
from rich.console import Console
from rich.progress import Progress
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from lab.data import kept, streams
from lab.data.dataset import Dataset
from lab.data.text import tokenizer_file
from lab.files import atomic, checksums
from lab.files.choices import nearest

NAMES = ("bytes", "characters", "bpe")
TRAINED = {"characters": 3, "bpe": 257}
"""Their smallest vocabulary: unknown token, boundary and one character; boundary and the 256 bytes."""
BOUNDARY = "<|endoftext|>"
BOUNDARIES = (BOUNDARY, "<|end_of_text|>", "<|begin_of_text|>", "</s>", "<s>", "<eos>", "<bos>", "[SEP]", "[CLS]")
"""Names of the token between two documents in tokenizer files; the first that a file has is used."""
UNKNOWN = "<unk>"
PIECE = 2**18
"""Bytes that one core encodes at once, up to twice as many if there is no line break."""
WORD = 1000
"""Characters of a word from which byte pairs are learned at once: 3 MB of DNA in one line train in 3 seconds."""
LONG = re.compile("|".join(rf"{kind}{{{WORD}}}" for kind in (r"[^\W\d_]", r"\d", r"(?:[^\w\s]|_)", r"\s")))
"""A word is a run of letters, digits, punctuation or white space."""
LONG_WAIT = 2**24
"""Bytes above which progress is shown on a terminal: a few seconds on one core."""
PIECES = 16
"""Pieces in memory; an encoded byte takes up to 100 bytes."""


def check_tokenizer(name: str, vocabulary: int, boundaries: bool) -> None:
    """Raises ValueError or FileNotFoundError if there is no such tokenizer, or if it lacks a required boundary.

    `name` is one of NAMES or the path of a `tokenizer.json`; see `tokenized` for the other arguments.
    """
    if name not in NAMES and not name.endswith(".json"):
        known = f"{', '.join(NAMES)} and the path of a tokenizer.json"
        raise ValueError(f"tokenizer is '{name}': allowed values are {known}{nearest(name, NAMES)}")
    if name not in TRAINED and vocabulary:
        raise ValueError(f"vocabulary is {vocabulary}, but tokenizer {name!r} has its own: leave it at 0")
    if vocabulary < TRAINED.get(name, 0):
        raise ValueError(f"vocabulary is {vocabulary}: tokenizer {name!r} needs at least {TRAINED[name]} tokens")
    if name.endswith(".json") and _boundary(tokenizer_file.read(name)) is None and boundaries:
        raise ValueError(f"tokenizer {name!r} has no token for the end of a document: none of {', '.join(BOUNDARIES)}")


def vocabulary_size(name: str, vocabulary: int, boundaries: bool) -> int:
    """The vocabulary size, which needs no file but the `tokenizer.json`."""
    if name == "bytes":
        return 256 + boundaries
    return vocabulary or max(tokenizer_file.read(name).get_vocab().values()) + 1


def token_type(vocabulary: int) -> np.dtype:
    """The smallest integer type for a vocabulary of this size."""
    return np.dtype(np.uint8 if vocabulary <= 2**8 else np.uint16 if vocabulary <= 2**16 else np.int32)


def boundary_token(name: str) -> int | None:
    """The token between two documents; None if a `tokenizer.json` has none."""
    if name == "bytes":
        return 256
    return {"characters": 1, "bpe": 0}[name] if name in TRAINED else _boundary(tokenizer_file.read(name))


def special_token(name: str, *spellings: str) -> int | None:
    """The token of a `tokenizer.json` for the first of these spellings that it has; None for any other tokenizer."""
    if name == "bytes" or name in TRAINED:
        return None
    found = (tokenizer_file.read(name).token_to_id(spelling) for spelling in spellings)
    return next((token for token in found if token is not None), None)


def added_tokens(name: str) -> tuple[list[int], list[int]]:
    """The tokens that a `tokenizer.json` adds before and after a text, such as [CLS] and [SEP]; none for any other
    tokenizer. Raises ValueError if their positions cannot be determined because it has no token for a letter."""
    if name == "bytes" or name in TRAINED or not tokenizer_file.read(name).num_special_tokens_to_add(False):
        return [], []
    found = tokenizer_file.read(name).encode("a")
    if 0 not in found.special_tokens_mask:
        raise ValueError(f"tokenizer {name!r} has neither a token for the letter a nor an unknown token")
    added = [token for token, own in zip(found.ids, found.special_tokens_mask, strict=True) if own]
    before = found.special_tokens_mask.index(0)
    return added[:before], added[before:]


def tokenized(text: Dataset, name: str, vocabulary: int, boundaries: bool, data_dir: Path | None) -> Dataset:
    """Tokenize a corpus of bytes (fields `tokens` and `ends`, the end of every document).

    - `bytes`: a token is a byte.
    - `characters`: the most frequent characters of the training split; all others are one unknown token.
    - `bpe`: byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019), trained on the training split.
    - a path: a `tokenizer.json` of the `tokenizers` library.

    `vocabulary` is the number of tokens of `characters` and `bpe`. With `boundaries`, a token of zero bytes precedes
    each document. Except with `bytes`, invalid UTF-8 is encoded as U+FFFD.

    Every split has `tokens` [n], of the smallest of uint8, uint16 and int32. Validation and test also have `bytes` [n]:
    the bytes between the end of the token before and its own, so that they add up to those of the text (but for a text
    that is encoded as no token at all), and `ends`, the byte at which every document ends. It is prepared once under
    `data_dir`, in a folder named by the content of text and tokenizer, and memory-mapped; bytes without
    boundaries are the text as it is. Raises ValueError when a prepared file is damaged, and OSError when the disk is
    full.
    """
    if name == "bytes" and not boundaries:
        plain = {split: {"tokens": fields["tokens"]} for split, fields in text.arrays.items()}
        for split in plain.keys() - {"train"}:
            plain[split] |= {"bytes": np.ones_like(plain[split]["tokens"]), "ends": text.arrays[split]["ends"]}
        return Dataset(plain, {**text.provenance, "tokenizer": {"name": name, "vocabulary": 256}})
    folder, facts = _prepared(text, name, vocabulary, boundaries, data_dir)
    arrays = {
        split: {field: streams.read(folder / f"{split}.{field}.npy") for field in _fields(split)}
        for split in text.arrays
    }
    for split in arrays.keys() - {"train"}:
        arrays[split]["ends"] = text.arrays[split]["ends"]
    return Dataset(arrays, {**text.provenance, "tokenizer": facts})


def tokenizer_of(text: Dataset, name: str, vocabulary: int, data_dir: Path | None) -> Tokenizer | None:
    """The tokenizer with which `tokenized` encodes a corpus, trained on it if necessary; None for bytes.

    Raises what `tokenized` raises.
    """
    if name in TRAINED:
        folder, _ = _prepared(text, name, vocabulary, False, data_dir)
        name = str(folder / "tokenizer.json")
    return _tokenizer(name, 0, ())


def cut(texts: Iterable[bytes], tokenizer: Tokenizer | None, length: int) -> Iterator[list[Integer[np.ndarray, " _"]]]:
    """The tokens of every text in pieces of at most `length`, including what a `tokenizer.json` adds to each,
    such as [CLS] and [SEP]. None: the bytes. Raises ValueError if there is no room for other tokens."""
    if tokenizer is None:
        for text in texts:
            yield [np.frombuffer(text[start : start + length], np.uint8) for start in range(0, len(text), length)]
        return
    if (added := tokenizer.num_special_tokens_to_add(False)) >= length:
        raise ValueError(
            f"a text of {length} tokens has no room for more than the {added} that the tokenizer adds to it"
        )
    own = tokenizer_file.as_text(
        Tokenizer.from_str(tokenizer.to_str())
    )  # a copy: truncation is a state of the tokenizer
    own.enable_truncation(length)
    texts = iter(texts)
    while group := [_text(text) for text in islice(texts, PIECES)]:
        for first in own.encode_batch(group):
            yield [np.array(piece.ids, int) for piece in (first, *first.overflowing)]


def _prepared(
    text: Dataset, name: str, vocabulary: int, boundaries: bool, data_dir: Path | None
) -> tuple[Path, dict[str, Any]]:
    """The folder of a tokenized corpus, prepared if necessary, and its facts."""
    own = tokenizer_file.read(name).to_str() if name.endswith(".json") else None
    size = vocabulary_size(name, vocabulary, boundaries)
    identity = json.dumps([checksums.of_splits(text.arrays), own or name, size, boundaries])
    folder = _folder(text.provenance["name"], name, checksums.of_bytes(identity.encode()), data_dir)
    return folder, kept.values(folder / "facts.json", lambda: _prepare(folder, text, name, size, boundaries))


def _folder(corpus: str, tokenizer: str, digest: str, data_dir: Path | None) -> Path:
    # Imported when needed: TensorFlow Datasets takes a second to import.
    words = re.sub(r"[^A-Za-z0-9]+", "_", f"{corpus}-{Path(tokenizer).stem}").strip("_")[-60:]
    return kept.data_directory(data_dir) / "tokens" / f"{words}-{digest[:16]}"


def _fields(split: str) -> tuple[str, ...]:
    return ("tokens",) if split == "train" else ("tokens", "bytes")


def _prepare(folder: Path, text: Dataset, name: str, size: int, boundaries: bool) -> dict[str, Any]:
    """Write the files of a folder and return its facts, which are written last and mark the folder as complete."""
    kept.folder(folder)
    tokenizer = _tokenizer(name, size, _documents(text, "train"), _is_shown(text.arrays["train"]["tokens"].size))
    definition = (tokenizer.to_str(pretty=True) if tokenizer else name).encode()
    types = {"tokens": token_type(size), "bytes": np.dtype(np.int32)}
    boundary = boundary_token(name) if boundaries else None
    sizes = {split: len(_fields(split)) * fields["tokens"].size for split, fields in text.arrays.items()}
    written: dict[str, Any] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=not _is_shown(sum(sizes.values()))) as shown:
        bar = shown.add_task(f"{text.provenance['name']} as tokens: {name}", total=sum(sizes.values()))
        for split in text.arrays:
            for field in _fields(split):
                pieces = _encoded(tokenizer, _documents(text, split), boundary, field, partial(shown.advance, bar))
                written[f"{split}.{field}"] = streams.write(folder / f"{split}.{field}.npy", pieces, types[field])
    if tokenizer:
        atomic.write_bytes(folder / "tokenizer.json", definition)
    return {"name": name, "vocabulary": size, "sha256": checksums.of_bytes(definition), "files": written}


def _is_shown(size: int) -> bool:
    """Whether this many bytes take noticeable time and output goes to a terminal."""
    return size >= LONG_WAIT and sys.stderr.isatty()


def _documents(text: Dataset, split: str) -> Iterator[bytes]:
    """The nonempty documents of a split."""
    fields = text.arrays[split]
    for document in np.split(fields["tokens"], fields["ends"][:-1]):
        if document.size:
            yield document.tobytes()


def _pieces(document: bytes) -> Iterator[bytes]:
    """A document cut after newlines, or between characters if there are none, so that neither its size nor that of its
    lines matters."""
    start = 0
    while start < len(document):
        end = document.find(b"\n", start + PIECE, start + 2 * PIECE) + 1 or _between(document, start + 2 * PIECE)
        yield document[start:end]
        start = end


def _between(document: bytes, end: int) -> int:
    """The boundary between two characters at `end` or up to 3 bytes before it; the end of a shorter document."""
    if end >= len(document):
        return len(document)
    return next((place for place in range(end, end - 4, -1) if document[place] & 0xC0 != 0x80), end)


def _words(text: str) -> Iterator[str]:
    """A text with its longest words cut: the time to train byte pairs is quadratic in the length of a word, and in DNA,
    minified code or logs a word may be the whole file. A text without such words is unchanged."""
    start = 0
    for long in LONG.finditer(text):
        yield text[start : long.end()]
        start = long.end()
    yield text[start:]


def _encoded(
    tokenizer: Tokenizer | None,
    documents: Iterable[bytes],
    boundary: int | None,
    field: str,
    advance: Callable[[int], None] = lambda size: None,
) -> Iterator[Integer[np.ndarray, " _"]]:
    """A field of the tokens of all documents, piece by piece; a boundary is an empty piece before encoding.

    `advance` is called with the number of bytes that were encoded.
    """
    begin = [b""] if boundary is not None else []
    pieces = (piece for document in documents for piece in (*begin, *_pieces(document)))
    while group := list(islice(pieces, PIECES)):
        for piece, encoded in zip(group, _encode(tokenizer, group, field), strict=True):
            yield encoded if piece else np.array([boundary if field == "tokens" else 0])
        advance(sum(map(len, group)))


def _encode(tokenizer: Tokenizer | None, pieces: list[bytes], field: str) -> list[Integer[np.ndarray, " _"]]:
    """A field of the tokens of each piece; pieces are encoded on all cores."""
    if tokenizer is None:
        arrays = [np.frombuffer(piece, np.uint8) for piece in pieces]
        return arrays if field == "tokens" else [np.ones_like(array) for array in arrays]
    texts = [_text(piece) for piece in pieces]
    if field == "tokens":
        return [np.array(found.ids, int) for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    found = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [
        _lengths(piece, np.array(one.offsets, int).reshape(-1, 2)) for piece, one in zip(pieces, found, strict=True)
    ]


def _lengths(piece: bytes, offsets: Int[np.ndarray, "tokens 2"]) -> Int[np.ndarray, " tokens"]:
    """The bytes from the end of the previous token to the end of each token; the last token gets the remainder.

    Offsets are in characters. If a character is split into several tokens, the first one gets its bytes.
    """
    codes = np.frombuffer(_characters(piece).encode("utf-32-le", "surrogatepass"), np.uint32)
    escaped = (codes >= 0xDC80) & (codes <= 0xDCFF)
    lengths = np.where(escaped, 1, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000))
    ends = np.concatenate([[0], np.cumsum(lengths)])[offsets[:, 1]]
    ends[-1:] = len(piece)
    return np.diff(np.maximum.accumulate(ends), prepend=0)


def _characters(piece: bytes) -> str:
    """UTF-8 text in which every invalid byte is a surrogate."""
    return piece.decode(errors="surrogateescape")


def _text(piece: bytes) -> str:
    """The same characters without surrogates, which the library does not accept."""
    return re.sub("[\udc80-\udcff]", "\ufffd", _characters(piece))


def _tokenizer(name: str, size: int, documents: Iterable[bytes], shown: bool = False) -> Tokenizer | None:
    """The tokenizer, trained on the documents if necessary, with progress if `shown`; None for bytes."""
    if name == "bytes":
        return None
    if name not in TRAINED:
        return tokenizer_file.read(name)
    tokenizer, trainer = (_character_level if name == "characters" else _byte_level)(size, shown)
    pieces = (_text(piece) for document in documents for piece in _pieces(document))
    tokenizer.train_from_iterator((words for piece in pieces for words in _words(piece)), trainer)
    return tokenizer_file.as_text(tokenizer)


def _character_level(size: int, shown: bool = False) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer, trainers.WordLevelTrainer(
        vocab_size=size, special_tokens=[UNKNOWN, BOUNDARY], show_progress=shown
    )


def _byte_level(size: int, shown: bool = False) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=size, special_tokens=[BOUNDARY], initial_alphabet=alphabet, show_progress=shown
    )


def _boundary(tokenizer: Tokenizer) -> int | None:
    found = (tokenizer.token_to_id(name) for name in BOUNDARIES)
    return next((token for token in found if token is not None), None)
