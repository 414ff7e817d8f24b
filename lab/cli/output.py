"""The streams that a command writes to, made fit for whatever the terminal or the shell makes of them."""

import codecs
import os
import sys

PLAIN = {"−": "-", "×": "x", "±": "+-", "∞": "inf", "†": "+", "→": "->", "…": "...", "’": "'", "–": "-"}
"""What says the same in ASCII; a minus sign must not be lost where the terminal cannot show ours."""
ERRORS = "ablations.plain"


def prepare() -> None:
    """Prepares stdout and stderr; call it before anything is written.

    A character that the encoding of a stream lacks is replaced, by one that says the same where there is one. A stream
    that the shell has closed (`>&-`) swallows what is written: the next file opened must not take its number, for then
    what libraries print would be written into it.
    """
    for number in range(3):
        _occupied(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115, it stays open
    codecs.register_error(ERRORS, plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not those of a test or a notebook
            stream.reconfigure(errors=ERRORS)


def plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """The error handler: what stands for the first character that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no text
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return PLAIN.get(character, "?"), error.start + 1


def _occupied(number: int) -> None:
    """Opens the null device under the number of a closed stream."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
