"""The number of runs that fit in device memory, found from the compiled program before anything is placed."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

USABLE = 0.9  # fraction of free memory, as allocators round up and leave gaps
GROUPS = Path("/sys/fs/cgroup")


def capacity(devices: int | None = None) -> int:
    """Bytes of a device's memory that a program may use.

    If the device does not report them (CPUs), its share of the machine's memory among `devices` (default: all local).
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(USABLE * (statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)))
    return int(USABLE * _machine()) // (devices or jax.local_device_count())


def _machine() -> int:
    """Bytes of the machine's memory, or the limit of its control group (a container, a Slurm job)."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    own = Path("/proc/self/cgroup")
    if not own.exists():
        return total
    folder = GROUPS / own.read_text().rpartition("::/")[2].strip()
    files = [inner / "memory.max" for inner in (folder, *folder.parents) if inner.is_relative_to(GROUPS)]
    limits = [file.read_text().strip() for file in files if file.exists()]
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])  # otherwise "max"


def size(tree: Any) -> int:
    """Bytes per device of arrays (or their shapes) with their shardings."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def added(compiled: Any) -> int:
    """Bytes that a compiled program needs on a device in addition to its arguments."""
    found = compiled.memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes


def most(wanted: int, needed: Callable[[int], int], available: int) -> int:
    """How many of the `wanted` runs a device can hold at once, given the bytes that N runs need, `needed(N)`.

    `needed` compiles a program, so it is called rarely: once if all runs fit; otherwise also for one run, and then by
    linear interpolation between the smallest and the largest number. Raises ValueError, saying how much memory is
    missing, if not even one run fits.
    """
    taken = needed(wanted)
    if taken <= available:
        return wanted
    one = taken if wanted == 1 else needed(1)
    check(one, available)
    while taken > available:
        promised = 1 + int((wanted - 1) * (available - one) / (taken - one)) if taken > one else 1
        wanted = max(1, min(promised, wanted - 1))
        taken = one if wanted == 1 else needed(wanted)
    return wanted


def check(needed: int, available: int) -> None:
    """Raises ValueError if a device has fewer bytes than needed."""
    if needed > available:
        raise ValueError(
            f"the runs need {_readable(needed)} of device memory but {_readable(available)} are free, "
            f"{_readable(needed - available)} are missing: use a smaller batch_size, accumulate or more shards"
        )


def _readable(size: int) -> str:
    """Bytes in the unit in which they have one to three digits."""
    power = min(max(0, int(math.log(max(size, 1), 1000))), 4)
    return f"{size / 1000**power:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
