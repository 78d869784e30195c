"""Removing runs: a run's folder is there whole, or not there at all."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.files.atomic import locked
from bench.runs.folder import RunFolder

_REMOVED = ".removed"
"""Folder beside the runs into which one is moved before its files are removed one by one."""


def remove_run(folder: RunFolder) -> None:
    """Remove a run's folder, with the evaluations in it.

    Wherever this is interrupted, the run is there as it was, or nothing that is read as a run. What an
    interrupted removal has left is removed by the next one. Raises Held, with nothing done, for a run that
    a process works on; UsageError for a link, and BenchError for files that cannot be removed.
    """
    path = folder.path.absolute()
    if path.is_symlink():
        raise UsageError(f"{str(path)!r} is a link to a run; remove the link, or name what it leads to.")
    apart = path.parent / _REMOVED
    try:
        with locked(apart / ".lock"):
            try:
                _delete_all(apart)
                with folder.locked("wait for it, or stop it first."):
                    path.rename(apart / path.name)
                    _delete_all(apart)
            finally:
                (apart / ".lock").unlink()
                with suppress(OSError):  # it is not empty, or somebody waits and has made its lock again
                    apart.rmdir()
    except OSError as error:
        raise BenchError(
            f"the run {str(path)!r} cannot be removed whole ({error.strerror}: {error.filename}); see to the "
            f"permissions, and remove what is left in {str(apart)!r}."
        ) from None


def _delete_all(folder: Path) -> None:
    """Delete what is in a folder, but for its lock."""
    for child in folder.iterdir():
        if child.name != ".lock":
            shutil.rmtree(child)


def bytes_of(folder: RunFolder) -> int:
    """Return the size of all files in a run's folder, in bytes."""
    sizes = (
        (Path(place) / name).lstat().st_size
        for place, _, names in os.walk(folder.path)
        for name in names
    )
    return sum(sizes)
