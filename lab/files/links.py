"""Symbolic links: a folder that somebody was sent must not lead to files elsewhere on the machine."""

import os
from collections.abc import Collection
from pathlib import Path


def check_links(folder: Path, leaving_out: Collection[str] = ()) -> None:
    """Raises ValueError, naming it, where a symbolic link below `folder` leads out of it; the folder itself may be one.

    Folders named in `leaving_out` are not looked into.
    """
    inside = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise ValueError(
                    f"{path} is a symbolic link that leads out of {folder}: put there what it leads to, or link the "
                    f"whole folder"
                )
        folders[:] = [name for name in folders if name not in leaving_out]
