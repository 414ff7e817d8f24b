"""Checkpoints of all runs of a cell, curves and weights in one step. Orbax is known to this file alone."""

import gc
import json
import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from lab.files.atomic import remove
from lab.training import distributed

KEPT = 2  # damage to the newest still leaves one


def save(directory: Path, step: int, state: Any, record: Any) -> None:
    """Saves the state and a JSON value of step `step`; returns when they are on the disk. Only the newest two stay.

    All processes call it with the same values; Orbax has them wait for each other and lets the first write.
    Raises OSError (disk full, read-only folder), naming the folder; the older checkpoints are then still there.
    """
    path = directory.resolve() / str(step)  # Orbax refuses relative paths
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)  # one array: as a tree each value would be a file
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
    """The steps that have a whole checkpoint, ascending: Orbax renames the folder when everything is in it."""
    return sorted(int(path.name) for path in directory.glob("*") if path.name.isdigit())


def restore(directory: Path, step: int, abstract: Any) -> tuple[Any, Any]:
    """State (NumPy arrays) and JSON value of a checkpoint; `abstract` has the state's shapes and types.

    Read are arrays in TensorStore's OCDBT and zarr formats and JSON, nothing that could hold code. Raises ValueError,
    naming the folder, if it is damaged or holds other shapes.
    """
    path = directory.resolve() / str(step)
    target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
    with _quiet():
        try:
            loaded = ocp.load_checkpointables(path, {"state": target, "record": None})
            _check_shapes(loaded["state"], abstract)
            return loaded["state"], json.loads(np.asarray(loaded["record"]["json"]).tobytes())
        except Exception as error:  # Orbax, TensorStore and JSON each raise their own
            kind = type(error).__name__
        gc.collect()  # here, where the warnings of the coroutines that Orbax never awaited are not heard
    raise ValueError(f"checkpoint {path} is damaged ({kind}): delete it to go on from the one before")


def _check_shapes(state: Any, abstract: Any) -> None:
    """Raises ValueError where a shape is not the expected one: Orbax fills a NumPy target with whatever it finds."""
    if jax.tree.map(np.shape, state) != jax.tree.map(np.shape, abstract):
        raise ValueError("the shapes are others")


def _system_error(error: ValueError, path: Path) -> Exception:
    """What the operating system told TensorStore, as OSError; the error itself if it told nothing."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1])), str(path)) if code else error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C, SIGTERM and SIGHUP back until the block is over: stopped midway, Orbax's threads fail one after
    another."""
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Orbax's own account of an error that it also raises."""
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
