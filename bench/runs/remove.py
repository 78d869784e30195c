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
    apart, lock = path.parent / _REMOVED, path.parent / f"{_REMOVED}.lock"
    try:
        with locked(lock):  # which lies outside, so that the folder comes and goes for its holder alone
            try:
                if apart.exists():
                    shutil.rmtree(apart)
                apart.mkdir()
                with folder.locked("wait for it, or stop it first."):
                    path.rename(apart / path.name)
                    shutil.rmtree(apart)
            finally:
                with suppress(OSError):  # it is gone, or not empty
                    apart.rmdir()
                lock.unlink()
    except OSError as error:
        raise BenchError(
            f"the run {str(path)!r} cannot be removed whole ({error.strerror}: {error.filename}); see to the "
            f"permissions, and remove what is left in {str(apart)!r}."
        ) from None


def bytes_of(folder: RunFolder) -> int:
    """Return the size of all files in a run's folder, in bytes."""
    total = 0
    for place, _, names in os.walk(folder.path):
        for name in names:
            with suppress(FileNotFoundError):  # somebody else removes the run
                total += (Path(place) / name).lstat().st_size
    return total
