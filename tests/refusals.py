"""What an error must say: the field, the value and what is allowed, in one sentence on one line, in whatever words."""

import re
from contextlib import contextmanager

import pytest


def names(message: str, word: str) -> bool:
    """Whether the message has the word by itself: 0 is not in 10, nor 1 in 1.5 or -1, nor gelu in geluu."""
    before = r"(?<![\w.-])" if word[:1].isdigit() else r"(?<!\w)" if word[:1].isalnum() else ""
    after = r"(?!\w|\.\d)" if word[-1:].isalnum() else ""
    return re.search(before + re.escape(word) + after, message) is not None


def assert_names(message: str, *words: object) -> None:
    """All words occur, each by itself, and the message is one sentence on one line."""
    assert words
    lacking = [word for word in map(str, words) if not names(message, word)]
    assert not lacking, f"{lacking} not in: {message}"
    assert len(message.splitlines()) == 1, message
    assert not re.search(r"[.!?] [A-Z]", message), f"more than one sentence: {message}"


@contextmanager
def refused(*words: object, error: type[Exception] | tuple[type[Exception], ...] = ValueError):
    """What is within raises the error, whose message names the words."""
    with pytest.raises(error) as caught:
        yield caught
    assert_names(str(caught.value), *words)
