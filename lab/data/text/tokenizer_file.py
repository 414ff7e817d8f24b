"""Reads a `tokenizer.json` of the `tokenizers` library, with a one-sentence error if it cannot encode every text."""

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models

PROBE = "a A 0 .,_\n\t\u00e9\u044f\u4e2d\U0001f600\ufffd"
"""Text that every tokenizer must encode: Latin and other letters, a digit, punctuation, white space, an emoji."""
LARGEST = 2**31
"""Tokens are stored as 32-bit integers."""


def read(path: str) -> Tokenizer:
    """The tokenizer of a file, without truncation, padding and dropout; the text of a special token stays text.

    Raises FileNotFoundError if the file cannot be read, and ValueError if the library cannot build a tokenizer from it
    or if that tokenizer cannot encode every text: an empty vocabulary, a merge of missing tokens, no unknown token.
    """
    try:
        return _parsed(path, Path(os.path.expanduser(path)).read_bytes())
    except OSError as error:
        raise FileNotFoundError(f"tokenizer {path!r} cannot be read: {error.strerror}") from None


def as_text(tokenizer: Tokenizer) -> Tokenizer:
    """Treat the text of a special token as text, so that boundaries occur only at the ends of documents."""
    tokenizer.encode_special_tokens = True
    return tokenizer


@lru_cache(maxsize=4)
def _parsed(path: str, content: bytes) -> Tokenizer:
    try:
        # Checked before the library, which panics on such errors with a trace on standard error.
        if problem := next(_problems(json.loads(content)), None):
            raise ValueError(problem)
        tokenizer = _built(content)
        _try(tokenizer)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # a panic of the library is a BaseException, as are KeyboardInterrupt and SystemExit
        reason = " ".join(str(error).split())
        raise ValueError(f"tokenizer {path!r} cannot be used: {reason}") from None
    return tokenizer


def _built(content: bytes) -> Tokenizer:
    tokenizer = Tokenizer.from_buffer(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, models.BPE):
        tokenizer.model.dropout = None  # a text is encoded once, always as the same tokens
    return as_text(tokenizer)


def _try(tokenizer: Tokenizer) -> None:
    """Encode a text. Raises ValueError if a token is outside the vocabulary, and whatever the library raises."""
    largest = max(tokenizer.get_vocab().values())
    if largest >= LARGEST:
        raise ValueError(f"its largest token is {largest}: it must be below {LARGEST}")
    if (found := max(tokenizer.encode(PROBE).ids, default=0)) > largest:
        raise ValueError(f"it encodes a text with token {found}, but the largest of its vocabulary is {largest}")


def _problems(definition: Any) -> Iterator[str]:
    """Problems of the content of a file; malformed content is left to the library."""
    model = definition.get("model") if isinstance(definition, dict) else None
    if not isinstance(model, dict):
        yield 'it has no object "model"'
        return
    vocabulary = model.get("vocab")
    if not vocabulary:
        yield "its vocabulary is empty"
    elif isinstance(vocabulary, dict):
        yield from _unknown(model, vocabulary)
        yield from _merges(model, vocabulary)
    yield from _template(definition.get("post_processor"))


def _unknown(model: dict[str, Any], vocabulary: dict[str, Any]) -> Iterator[str]:
    """Word-level models need an unknown token; byte-pair models may do without. Files of old versions do not name the
    model's type."""
    words = model.get("type") in ("WordLevel", "WordPiece") or ("type" not in model and "merges" not in model)
    unknown = model.get("unk_token")
    if words and unknown not in vocabulary:
        yield f"its unk_token {unknown!r} is not in its vocabulary"


def _merges(model: dict[str, Any], vocabulary: dict[str, Any]) -> Iterator[str]:
    prefix = model.get("continuing_subword_prefix") or ""
    for index, merge in enumerate(model.get("merges") or ()):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(token, str) for token in pair):
            yield f"merge {index} is {merge!r}, not a pair of tokens"
            return
        left, right = pair
        if len(right) < len(prefix):
            yield f"merge {index} of {left!r} and {right!r} lacks the prefix {prefix!r}"
        for token in (left, right, left + right[len(prefix) :]):
            if token not in vocabulary:
                yield f"merge {index} of {left!r} and {right!r} needs the token {token!r}, which its vocabulary lacks"


def _template(processor: Any) -> Iterator[str]:
    """A template must define the special tokens that it adds to a text."""
    if not isinstance(processor, dict):
        return
    for inner in processor.get("processors") or ():
        yield from _template(inner)
    if processor.get("type") == "TemplateProcessing":
        pieces = [*(processor.get("single") or ()), *(processor.get("pair") or ())]
        names = [piece["SpecialToken"]["id"] for piece in pieces if "SpecialToken" in piece]
        if lacking := [name for name in names if name not in (processor.get("special_tokens") or ())]:
            yield f"its template has the special token {lacking[0]!r}, which its special_tokens lack"
