"""Checkpoints of all runs of a cell, with curves and weights together. Only this file uses Orbax."""

import gc
import json
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from lab.files.atomic import remove
from lab.training.devices import distributed

KEPT = 2  # if the newest is damaged, one is left


def save(directory: Path, step: int, state: Any, record: Any) -> None:
    """Save the state and a JSON value of a step; returns when they are on disk. Only the newest two are kept.

    All processes call it with the same values; Orbax synchronizes them and lets the first one write.
    Raises OSError (disk full, read-only folder), naming the folder; older checkpoints then remain.
    """
    path = directory.resolve() / str(step)  # Orbax refuses relative paths
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)  # one array; a tree would be one file per value
    for killed in directory.glob("*.orbax-checkpoint-tmp") if distributed.first() else ():
        remove(killed)
    try:
        with _quiet(), _uninterrupted():
            ocp.save_checkpointables(path, {"state": state, "record": {"json": text}})
    except ValueError as error:
        raise _system_error(error, path) from None
    for old in steps(directory)[:-KEPT] if distributed.first() else ():
        remove(directory / str(old))


def steps(directory: Path) -> list[int]:
    """The steps with a complete checkpoint, ascending; Orbax renames the folder when it is complete."""
    return sorted(int(path.name) for path in directory.glob("*") if path.name.isdigit())


def restore(directory: Path, step: int, abstract: Any) -> tuple[Any, Any]:
    """State (NumPy arrays) and JSON value of a checkpoint; `abstract` has the state's shapes and types.

    Reads only arrays in TensorStore's OCDBT and zarr formats and JSON, which cannot contain code. Raises ValueError,
    naming the folder, if it is damaged or has other shapes.
    """
    path = directory.resolve() / str(step)
    target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
    with _quiet():
        try:
            loaded = ocp.load_checkpointables(path, {"state": target, "record": None})
            _check_shapes(loaded["state"], abstract)
            return loaded["state"], json.loads(np.asarray(loaded["record"]["json"]).tobytes())
        except Exception as error:  # Orbax, TensorStore and JSON raise different ones
            kind = type(error).__name__
        _ignore_abandoned_reads()
        gc.collect()  # here, where warnings about coroutines that Orbax never awaited are suppressed
    raise ValueError(f"checkpoint {path} is damaged ({kind}): delete it to continue from the previous one")


def _check_shapes(state: Any, abstract: Any) -> None:
    """Raises ValueError for an unexpected shape, since Orbax fills NumPy targets with whatever it finds."""
    if jax.tree.map(np.shape, state) != jax.tree.map(np.shape, abstract):
        raise ValueError("the shapes differ")


def _system_error(error: ValueError, path: Path) -> Exception:
    """The operating system's error as reported to TensorStore, as OSError; otherwise the original error."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1])), str(path)) if code else error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C, SIGTERM and SIGHUP until the end of the block, as Orbax's threads fail if they are interrupted."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    held: list[int] = []
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    handlers = {number: signal.signal(number, lambda held_back, _: held.append(held_back)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


@cache
def _ignore_abandoned_reads() -> None:
    """Print no trace for Orbax's reads of the other arrays, which it abandons where one is damaged: they end when their
    event loop is closed already."""
    shown = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        abandoned = unraisable.object is None and str(unraisable.exc_value) == "Event loop is closed"
        if not abandoned:
            shown(unraisable)

    sys.unraisablehook = hook


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Orbax's log of errors that it also raises."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
