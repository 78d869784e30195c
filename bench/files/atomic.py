"""Files that are never half-written, locks between processes, digests, and the cache folder."""

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from bench.errors import UsageError
from bench.files.paths import written_path


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file in one step, so that a reader or a crash sees the old content or the new."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file that takes the place of ``path`` when the context ends well.

    What killed processes have left in the folder is removed before this process first writes there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if (folder := path.parent.absolute()) not in _swept:
        _swept.add(folder)
        sweep(folder)
    with _temporary(path) as temporary:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # a temporary file has 0600, which would hide results from a group
        temporary.replace(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yield a file beside ``path`` that is locked for as long as its process lives, and removed if the
    context fails.
    """
    while True:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name[:50]}.", suffix=_LEFT, delete=False
        ) as file:
            temporary = Path(file.name)
            fcntl.flock(file, fcntl.LOCK_EX)
            if not temporary.exists():
                continue  # somebody swept before it was locked
            try:
                yield temporary
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            return


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of ``folder`` when the context ends well.

    Raises UsageError for a place that holds anything already, or that cannot be written.
    """
    require_new(folder)
    folder = folder.resolve()  # where a link leads, and the name of the folder "."
    nearest = next(parent for parent in folder.parents if parent.is_dir())
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:50]}.", suffix=_LEFT, dir=nearest))
    try:
        yield temporary
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.chmod(0o755)  # a temporary folder has 0700
        temporary.replace(folder)  # which an empty folder gives way to
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_new(folder: Path) -> None:
    """Raise UsageError for a place that holds anything already, or that cannot be written."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{str(folder)!r} is there already; give another folder, or remove it.")
    require_writable(folder.parent, "folder")


_LEFT = ".tmp"
_swept: set[Path] = set()
"""Folders that this process has swept."""


def sweep(folder: Path) -> None:
    """Remove the temporary files in a folder that no living process writes."""
    for temporary in folder.glob(f".*{_LEFT}"):
        with suppress(OSError), _open_lock(temporary, os.O_RDONLY) as file:  # held, or gone already
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()


def _open_lock(path: Path, flags: int) -> IO[bytes]:
    """Open a file that is locked. Raises OSError for a link, a pipe or a device in its place, which may
    be somebody else's or hang.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    file = os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not a file")
    return file


@contextmanager
def locked(path: Path, when_held: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file ``path`` in this context, waiting for any other process that holds it.

    The lock is the operating system's, so that it ends with its process, however that dies.

    Args:
        path: the lock file, made if it is missing. It says who holds it.
        when_held: called once, before the wait, with a text that names the holder. It may tell the
            user, or raise in order not to wait.
    """
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = _opened_lock(path)
        except (FileNotFoundError, FileExistsError):
            if os.path.lexists(path.parent):  # as something else, such as a link that leads nowhere
                raise
            continue  # its folder was removed meanwhile
        with opened as file:
            if not _taken(file):
                if when_held is not None:
                    when_held(file.read().decode(errors="replace").strip() or "another process")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, path):
                continue  # its folder was removed meanwhile
            since = datetime.now(UTC).isoformat(timespec="seconds")
            with suppress(OSError):  # on a full disk the lock holds all the same
                file.truncate(0)
                file.seek(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
            yield
            return


def _opened_lock(path: Path) -> IO[bytes]:
    """Open a lock file, made if it is missing. Raises FileNotFoundError where its folder is gone, and
    UsageError where it cannot be otherwise.
    """
    try:
        return _open_lock(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            raise
        forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        reason, advice = (
            (error.strerror, "see to its permissions") if forbidden else (error, "remove it")
        )
        raise UsageError(f"the lock {str(path)!r} cannot be taken ({reason}); {advice}.") from None


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Tell whether an open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _taken(file: IO[bytes]) -> bool:
    """Take a lock if nobody holds it for longer than a look at it takes."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock file ``path``; False if there is no such file."""
    try:
        with _open_lock(path, os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all ``files_in`` a folder."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for file in files_in(path):
        digest.update(f"{file.relative_to(path)} {sha256(file)};".encode())
    return digest.hexdigest()


def files_in(place: Path) -> list[Path]:
    """List a file alone, or all files in a folder and below it, in order, but for litter.

    Links are followed, those to a folder that is listed already excepted; pipes and devices are left
    out. Raises UsageError for a link that leads nowhere and for a folder that may not be read.
    """
    if place.is_file():
        return [place]
    files: list[Path] = []
    seen = set()
    for name, folders, names in os.walk(place, onerror=_refuse_folder, followlinks=True):
        folder = Path(name)
        if folder.resolve() in seen:
            folders.clear()
            continue
        seen.add(folder.resolve())
        # In one order on every machine, and folders before the links that may lead to them.
        folders[:] = sorted(
            (n for n in folders if not is_litter(n)), key=lambda n: ((folder / n).is_symlink(), n)
        )
        for path in (
            folder / n for n in names if not is_litter((folder / n).relative_to(place).as_posix())
        ):
            if path.is_symlink() and not path.exists():
                raise UsageError(f"the link {str(path)!r} leads nowhere; mend or remove it.")
            if path.is_file():
                files.append(path)
    return sorted(files)


def _refuse_folder(error: OSError) -> None:
    raise UsageError(f"the folder {error.filename!r} cannot be read ({error.strerror}).") from None


def is_litter(name: str) -> bool:
    """Tell whether a file's path within a folder or an archive is of those that file browsers, archivers
    and notebooks leave: hidden ones, those in hidden folders, and a few of other names.
    """
    parts = name.split("/")
    hidden = any(part.startswith(".") and part.strip(".") for part in parts)
    return hidden or "__MACOSX" in parts or parts[-1] in ("Thumbs.db", "desktop.ini")


def require_readable(file: Path, what: str) -> None:
    """Raise UsageError unless ``file`` can be read to an end, which a pipe does not have."""
    try:
        if stat.S_ISREG(file.stat().st_mode):
            file.open("rb").close()  # raises if it may not be read
            return
    except OSError as error:
        raise UsageError(f"{what} cannot be read ({error.strerror}); check the path.") from None
    raise UsageError(f"{what} is not a file; check the path.")


def require_writable(folder: Path, what: str) -> None:
    """Raise UsageError unless files can be made in ``folder``, or in its nearest parent that exists."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write to the {what} {str(folder)!r}: {error.strerror}; name another folder."
        ) from error


def cache_folder() -> Path:
    """Return the folder of downloads and made data: ``BENCH_CACHE``, or one in the user's cache."""
    if folder := os.environ.get("BENCH_CACHE"):
        return written_path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distill-bench"
