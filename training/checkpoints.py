"""Checkpoints of all runs of a cell, curve and weights in one step. Orbax is known to this file alone."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

KEPT = 2  # a kill while the newest is written, or damage to it, still leaves one


def save(directory: Path, step: int, state: Any, rows: list[dict[str, Any]]) -> None:
    """Saves state and rows of step `step`; returns when they are on the disk. Older ones than the newest two go.

    Raises OSError (disk full, read-only folder); the older checkpoints are then still there.
    """
    text = np.frombuffer(json.dumps(rows).encode(), np.uint8)  # one array: as a tree each value would be a file
    with _checkpointer(directory) as checkpointer:
        checkpointer.save_checkpointables(step, {"state": state, "rows": {"json": text}}, overwrite=True)


def steps(directory: Path) -> list[int]:
    """The steps that have a whole checkpoint, ascending."""
    if not directory.exists():
        return []
    with _checkpointer(directory) as checkpointer:
        return sorted(checkpoint.step for checkpoint in checkpointer.checkpoints)


def restore(directory: Path, step: int, abstract: Any) -> tuple[Any, list[dict[str, Any]]]:
    """State (NumPy arrays) and rows of a checkpoint; `abstract` has the state's shapes and types.

    Raises ValueError, naming the folder, if it is damaged or holds other shapes.
    """
    target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
    try:
        with _checkpointer(directory) as checkpointer:
            loaded = checkpointer.load_checkpointables(step, {"state": target, "rows": None})
    except Exception as error:  # Orbax, TensorStore and JSON each raise their own
        reason = str(error).strip().splitlines()[0][:160]
        raise ValueError(
            f"checkpoint {directory / str(step)} is damaged ({reason}): delete it to go on from the one before"
        ) from error
    return loaded["state"], json.loads(np.asarray(loaded["rows"]["json"]).tobytes())


def _checkpointer(directory: Path) -> ocp.training.Checkpointer:
    return ocp.training.Checkpointer(
        directory.resolve(),  # Orbax fails on relative paths, some of them in the background
        preservation_policy=ocp.training.preservation_policies.LatestN(KEPT),
        cleanup_tmp_directories=True,
    )
