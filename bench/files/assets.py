"""Published files: downloaded once, verified at each use, kept in the cache.

>>> weights = Asset("edm-cifar10", "edm.pkl", "https://...", licence="MIT", source="its README")
>>> path = fetch(weights)
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.files.atomic import cache_folder, locked, sha256, write_atomic

UNKNOWN = "known once it is fetched"
"""Stands for the digest of a file that is not there, in a dry run."""


@dataclass(frozen=True)
class Asset:
    """A published file: its address, its digest, and its licence."""

    id: str
    """Name of what it is, or of what several files make up; its folder in the cache."""
    file: str
    """Its file name."""
    url: str
    """Its address; empty for a file that a person must put into the cache."""
    licence: str
    source: str
    """The page that states these facts."""
    sha256: str | None = None
    """Its digest, if the source states one. Otherwise the digest is recorded at first use and
    required from then on."""
    md5: str | None = None
    """A second digest, checked at first use and at every download."""
    note: str = ""
    """A hint for a person who gets the file by hand, such as its size."""

    @property
    def path(self) -> Path:
        """Its place in the cache."""
        return cache_folder().absolute() / "assets" / self.id / self.file

    @property
    def record(self) -> Path:
        """The file that keeps a digest recorded at first use, as ``sha256sum`` prints it.

        It outlives the asset.
        """
        return self.path.with_name(f"{self.path.name}.sha256")

    def digest(self) -> str | None:
        """The SHA-256 that the file must have, stated or recorded; None before the first use."""
        if self.sha256:
            return self.sha256.lower()
        try:
            return self.record.read_text(encoding="utf-8").split()[0]
        except FileNotFoundError:
            return None
        except (IndexError, UnicodeDecodeError):
            raise BenchError(
                f"the recorded digest {self.record} is damaged; remove it if {self.path} is right."
            ) from None


class Withheld(UsageError):
    """A file is not in the cache, and a dry run downloads nothing."""


_withheld: ContextVar[list[Asset] | None] = ContextVar("withheld", default=None)


@contextmanager
def dry_run() -> Iterator[list[Asset]]:
    """Download nothing while the context lasts: ``fetch`` raises Withheld in place of a download.

    Yields a list of the files that would have been downloaded so far.
    """
    files: list[Asset] = []
    token = _withheld.set(files)
    try:
        yield files
    finally:
        _withheld.reset(token)


def at_hand(asset: Asset) -> Path | None:
    """Return the file as ``fetch`` does, or None where a dry run has to do without it."""
    try:
        return fetch(asset)
    except Withheld:
        return None


def fetch(asset: Asset) -> Path:
    """Return the verified file in the cache, downloading it if it is not there yet.

    Raises UsageError if the file is missing and may not be downloaded, Withheld in a dry run, and
    BenchError if the download fails or brings another file.
    """
    _withhold(asset)
    try:
        _ensure(asset)
    except ConnectionError as error:
        raise BenchError(
            f"cannot download {asset.file} from {asset.url} ({error}); run the same command "
            f"again, or {_by_hand(asset)}."
        ) from error
    except OSError as error:
        raise BenchError(
            f"cannot keep {asset.file} in the cache ({error.strerror or error}); make room and run "
            f"the same command again, set BENCH_CACHE to another folder, or {_by_hand(asset)}."
        ) from error
    return asset.path


def _withhold(asset: Asset) -> None:
    """Raise Withheld in a dry run, for a file that a run would download."""
    files = _withheld.get()
    if files is None or not asset.url or not (problem := problem_of(asset)):
        return
    if asset not in files:
        files.append(asset)
    raise Withheld(f"{asset.file} of {asset.id} {problem}, and a dry run downloads nothing")


def _ensure(asset: Asset) -> None:
    """Put the right file in its place and record its digest, unless both are there."""
    problem = problem_of(asset)
    if problem:
        _require_download(asset, problem)
    elif asset.digest():
        return  # no lock: a cache that is only read needs no permission to write
    with locked(
        asset.path.with_name(".lock"),
        lambda _: _tell(f"waiting for another process that is getting {asset.file}"),
    ):
        if problem := problem_of(asset):  # unless another process has mended it
            _download(asset, problem)
        if asset.digest() is None:
            write_atomic(asset.record, f"{sha256(asset.path)}  {asset.path.name}\n")


def is_dry_run() -> bool:
    """Tell whether this is a dry run, which downloads nothing."""
    return _withheld.get() is not None


def offline() -> bool:
    """Tell whether a dry run or ``BENCH_OFFLINE=1`` forbids all use of the network."""
    return is_dry_run() or os.environ.get("BENCH_OFFLINE") == "1"


def problem_of(asset: Asset) -> str:
    """Say why the file in the cache cannot be used; empty if it can."""
    if not asset.path.is_file():
        return "is not in the cache"
    mismatch = _mismatch(asset, asset.path, with_md5=asset.digest() is None)
    return mismatch and f"in the cache is not the right one ({mismatch})"


def _mismatch(asset: Asset, file: Path, *, with_md5: bool) -> str:
    """Say how a file differs from what the asset must be; empty if it does not."""
    expected = asset.digest()
    if expected and (digest := sha256(file)) != expected:
        origin = (
            ""
            if asset.sha256
            else f", as {asset.record} recorded at first use: remove that if the change is meant"
        )
        return f"its SHA-256 is {digest}, expected {expected}{origin}"
    if with_md5 and asset.md5 and (digest := _md5(file)) != asset.md5.lower():
        return f"its MD5 is {digest}, expected {asset.md5}"
    return ""


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


def _require_download(asset: Asset, problem: str) -> None:
    """Raise UsageError if there is no address, or no network may be used."""
    what = f"{asset.file} of {asset.id} {problem}"
    if not asset.url:
        raise UsageError(f"{what}, and it cannot be downloaded by this suite; {_by_hand(asset)}.")
    if offline():
        raise UsageError(
            f"{what}, and BENCH_OFFLINE=1 forbids downloading it; unset that, or {_by_hand(asset)}."
        )


def _by_hand(asset: Asset) -> str:
    where = f"from {asset.url}" if asset.url else f"as {asset.source} says"
    note = f" ({asset.note})" if asset.note else ""
    return f"get it {where}{note} and put it at {asset.path}"


def _download(asset: Asset, problem: str) -> None:
    """Put the right file in its place, or raise and leave that place as it is.

    A wrong file is removed, so that no later download continues it. Raises ConnectionError for a
    download that fails, and BenchError for one that brings another file.
    """
    # Here because the network library takes half a second to import.
    from bench.files.download import discard, download, download_bar

    if asset.path.exists():
        _tell(f"{asset.file} {problem}; it is downloaded again")
    _tell(f"downloading {asset.file} from {asset.url}; licence: {asset.licence}; source: {asset.source}")
    part = asset.path.with_name(f"{asset.path.name}.part")
    with download_bar(asset.file) as report:
        download(asset.url, part, report)
    try:
        if mismatch := _mismatch(asset, part, with_md5=True):
            raise BenchError(
                f"what comes as {asset.file} from {asset.url} is not the right file and was "
                f"removed ({mismatch}); run the same command again, or {_by_hand(asset)}."
            )
        part.replace(asset.path)
    finally:
        discard(part)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
