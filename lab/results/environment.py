"""The environment of a result: commit, versions, machine."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "scipy")


def environment(device: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """The record of an environment as a JSON object.

    `device` (kind, count, execution of the runs, matmul precision) comes from the training code; `data` is the
    provenance of the data set.
    """
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "versions": versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        **device,
        "data": data,
    }


def commit() -> str:
    """The commit of this code, with `+changes` if files differ from it; `unknown` outside a checkout."""
    source = Path(__file__).parents[2]
    if not (source / ".git").exists():  # installed as a package: a surrounding checkout is unrelated
        return "unknown"
    try:
        git = ["git", "-C", str(source)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def versions() -> dict[str, str]:
    """The versions of the packages that make the numbers."""
    return {name: version for name in PACKAGES if (version := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name, for which Python returns an empty string on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
