"""Mono 16-bit audio files: NIST SPHERE, as published by the LDC, and RIFF (.wav)."""

import io
import re
import wave
from pathlib import Path

import numpy as np
from jaxtyping import Int16

NEEDED = {"channel_count": "1", "sample_n_bytes": "2"}
BYTE_ORDERS = {"01": "<i2", "10": ">i2"}
"""SPHERE's names of little-endian and big-endian samples."""


def samples(path: Path, rate: int) -> Int16[np.ndarray, " samples"]:
    """The samples of a file in either format, whatever its name.

    Raises ValueError, naming the file, what was found and what was expected, if the file has neither format, is
    compressed, has another rate, number of channels or sample width, or has fewer samples than its header says.
    """
    content = path.read_bytes()
    if content.startswith(b"NIST_1A"):
        return _sphere(path, content, rate)
    if content.startswith(b"RIFF"):
        return _riff(path, content, rate)
    raise ValueError(f"{path} begins with {content[:8]!r}: it must be a NIST SPHERE or RIFF audio file")


def _sphere(path: Path, content: bytes, rate: int) -> np.ndarray:
    """The samples after the header of a SPHERE file."""
    header, size = _header(path, content)
    if (coding := header.get("sample_coding", "pcm")) != "pcm":
        raise ValueError(
            f"{path} has sample_coding {coding}: it must be pcm; convert it with NIST's w_decode or sph2pipe"
        )
    for field, needed in {**NEEDED, "sample_rate": str(rate)}.items():
        if (found := header.get(field, "missing")) != needed:
            raise ValueError(f"{path} has {field} {found}: it must be {needed}")
    if (order := header.get("sample_byte_format", "missing")) not in BYTE_ORDERS:
        raise ValueError(f"{path} has sample_byte_format {order}: it must be {' or '.join(BYTE_ORDERS)}")
    there, stated = (len(content) - size) // 2, header.get("sample_count", "missing")
    if not stated.isdecimal() or there < int(stated):
        raise ValueError(f"{path} has {there} samples, but its sample_count is {stated}")
    return np.frombuffer(content, BYTE_ORDERS[order], offset=size, count=int(stated)).astype(np.int16)


def _header(path: Path, content: bytes) -> tuple[dict[str, str], int]:
    """Field -> value, and the size in bytes, of a header whose second line is its size and whose last is end_head."""
    start = re.match(rb"NIST_1A\n *(\d+)\n", content)
    if not start:
        raise ValueError(f"{path} begins with {content[:16]!r}: expected the size of its SPHERE header")
    size = int(start[1])
    text = content[:size].decode("ascii", "replace").partition("end_head")[0]
    words = [line.split(maxsplit=2) for line in text.splitlines()]
    return {line[0]: line[2] for line in words if len(line) == 3}, size


def _riff(path: Path, content: bytes, rate: int) -> np.ndarray:
    try:
        with wave.open(io.BytesIO(content)) as file:
            form, frames = file.getparams(), file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk larger than the file
        raise ValueError(
            f"{path} cannot be read ({str(error) or 'it is truncated'}): it must be RIFF with PCM samples"
        ) from None
    found = form.nchannels, 8 * form.sampwidth, form.framerate
    if found != (1, 16, rate):
        raise ValueError(f"{path} has channels, bits and rate {found}: they must be {(1, 16, rate)}")
    if len(frames) != 2 * form.nframes:
        raise ValueError(f"{path} has {len(frames) // 2} samples, but its header says {form.nframes}")
    return np.frombuffer(frames, "<i2").astype(np.int16)
