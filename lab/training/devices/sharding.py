"""How the arrays of a run are sharded over several devices: rules on paths, independent of models."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from lab.tasks.task import recast

Rule = tuple[str, PartitionSpec]  # a pattern to search for in the path, and how such an array is split

RUNS, DATA = "runs", "data"  # axes of the mesh: the runs, and the parts of a run

# The first match counts. Arrays without a match are split along their longest axis (ZeRO stage 3, Rajbhandari et al.
# 2020, section 5.3): parameters, gradients and both moments of Adam then take 1/shards of the memory each.
RULES: tuple[Rule, ...] = ((r"(^|/)(bias|scale)$", PartitionSpec()),)  # small, and every device needs them


def shardings(tree: Any, mesh: Mesh, rules: Sequence[Rule] = RULES) -> Any:
    """The sharding of every array of `tree`, whose leading axis is the runs.

    Paths are those of the tree, `parameters/layer_0/attention/query/kernel`; paths of an optimizer's moments end like
    those of their parameters. Raises ValueError if a rule splits an axis that the devices of a run do not divide.
    """

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, PartitionSpec(RUNS, *split(name, leaf.shape[1:], mesh.shape[DATA], rules)))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def split(path: str, shape: Sequence[int], shards: int, rules: Sequence[Rule] = RULES) -> PartitionSpec:
    """How an array of a single run is split; not at all if no axis is divisible."""
    for pattern, found in rules:
        if re.search(pattern, path):
            if any(name is not None and size % shards for name, size in zip(found, shape, strict=False)):
                raise ValueError(
                    f"{path} has shape {tuple(shape)}: it cannot be split {shards} times as {pattern} requires"
                )
            return found
    divisible = [axis for axis, size in enumerate(shape) if size and size % shards == 0]
    if shards == 1 or not divisible:
        return PartitionSpec()
    longest = max(divisible, key=lambda axis: shape[axis])
    return PartitionSpec(*[DATA if axis == longest else None for axis in range(longest + 1)])


def with_split_inputs(task: Any) -> Any:
    """A task (a `lab.tasks.task.Task`) whose inputs are split over the devices of a run."""
    kind = type(task)

    def inputs(self: Any, batch: Mapping[str, Array]) -> tuple[Array, ...]:
        """The model's positional inputs; each device of a run has its part of the batch."""
        return jax.lax.with_sharding_constraint(kind.inputs(self, batch), PartitionSpec(DATA))

    split_kind = type(f"Split{kind.__name__}", (kind,), {"inputs": inputs})
    return recast(task, split_kind)
