"""What may lie where a file is expected, and is none that can be read to its end."""

from __future__ import annotations

import os
from pathlib import Path


def a_pipe(path: Path) -> None:
    """Whoever opens it waits for a writer."""
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    """An empty one."""
    path.mkdir()


def a_loop(path: Path) -> None:
    """A symbolic link to itself."""
    path.symlink_to(path)


def a_dangling_link(path: Path) -> None:
    """A symbolic link to nothing."""
    path.symlink_to(path.parent / "nothing")


def an_endless_device(path: Path) -> None:
    """Zeros without end."""
    path.symlink_to("/dev/zero")


def an_empty_device(path: Path) -> None:
    """Nothing to read."""
    path.symlink_to(os.devnull)


def nothing(path: Path) -> None:
    """No file at all."""
