"""Parameters of layers: one subtree a layer, or stacked along a first axis as a scan over layers takes them."""

import re
from typing import Any

import jax
import jax.numpy as jnp


def stacked(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with `layer_0`, `layer_1`, ... stacked into `layers`, as for `scan`; prefixes stay."""
    found: dict[str, dict[int, Any]] = {}
    others = {}
    for name, tree in params.items():
        if parts := re.fullmatch(r"(.*)layer_(\d+)", name):
            found.setdefault(f"{parts[1]}layers", {})[int(parts[2])] = tree
        else:
            others[name] = tree
    return others | {
        name: jax.tree.map(lambda *leaves: jnp.stack(leaves), *(trees[i] for i in range(len(trees))))
        for name, trees in found.items()
    }


def unstacked(params: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `stacked`."""
    others = {}
    for name, tree in params.items():
        if not name.endswith("layers"):
            others[name] = tree
            continue
        for i in range(jax.tree.leaves(tree)[0].shape[0]):
            others[f"{name.removesuffix('s')}_{i}"] = jax.tree.map(lambda leaf, i=i: leaf[i], tree)
    return others
