"""Files that are downloaded once, verified at each use, and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.files.atomic import cache_folder, locked, sha256, write_atomic


@dataclass(frozen=True)
class Asset:
    """A published file: where it is, what it must be, and under which licence."""

    id: str
    """Unique name; also its folder in the cache."""
    file: str
    """Its file name."""
    url: str
    """Where to get it; empty if it can only be placed by hand."""
    licence: str
    source: str
    """Where these facts stand."""
    sha256: str | None = None
    """Its digest where the source states one; otherwise it is recorded at first use and enforced ever after."""
    md5: str | None = None
    """Checked too, at first use and at every download."""
    note: str = ""
    """What a person who gets the file by hand must know besides."""

    @property
    def path(self) -> Path:
        """Where it lies in the cache, or is to be put by hand."""
        return cache_folder().absolute() / "assets" / self.id / self.file

    @property
    def record(self) -> Path:
        """Where its digest is recorded at first use, in the format of ``sha256sum``. It outlives the file."""
        return self.path.with_name(f"{self.path.name}.sha256")

    def digest(self) -> str | None:
        """The SHA-256 that it must have, pinned or recorded; None before its first use."""
        if self.sha256:
            return self.sha256.lower()
        try:
            return self.record.read_text(encoding="utf-8").split()[0]
        except FileNotFoundError:
            return None
        except (IndexError, UnicodeDecodeError):
            raise BenchError(f"the recorded digest {self.record} is damaged; remove it if {self.path} is right.") from None


def fetch(asset: Asset) -> Path:
    """The verified file in the cache, downloaded if it is not there yet.

    Raises UsageError if it is not there and may not be downloaded, and BenchError if it cannot be had or is not the right one.
    """
    try:
        _settle(asset)
    except ConnectionError as error:
        raise BenchError(
            f"cannot download {asset.file} from {asset.url} ({error}); run the same command again, or {_by_hand(asset)}."
        ) from error
    except OSError as error:
        raise BenchError(
            f"cannot keep {asset.file} in the cache ({error.strerror or error}); make room and run the same command again, "
            f"set BENCH_CACHE to another folder, or {_by_hand(asset)}."
        ) from error
    return asset.path


def _settle(asset: Asset) -> None:
    """See to it that the right file is in its place, and that its digest is known."""
    problem = _problem(asset)
    if problem:
        _require_download(asset, problem)
    elif asset.digest():
        return  # no lock: a cache that is only read needs no permission to write
    with locked(asset.path.with_name(".lock"), lambda _: _tell(f"waiting for another process that is getting {asset.file}")):
        if problem := _problem(asset):  # unless another process has mended it
            _download(asset, problem)
        if asset.digest() is None:
            write_atomic(asset.record, f"{sha256(asset.path)}  {asset.path.name}\n")


def offline() -> bool:
    """Whether ``BENCH_OFFLINE=1`` forbids all use of the network."""
    return os.environ.get("BENCH_OFFLINE") == "1"


def _problem(asset: Asset) -> str:
    """Why the file in the cache cannot be used; empty if it can."""
    if not asset.path.is_file():
        return "is not in the cache"
    mismatch = _mismatch(asset, asset.path, with_md5=asset.digest() is None)
    return mismatch and f"in the cache is not the right one ({mismatch})"


def _mismatch(asset: Asset, file: Path, *, with_md5: bool) -> str:
    """How a file differs from what it must be; empty if it does not."""
    expected = asset.digest()
    if expected and (found := sha256(file)) != expected:
        origin = "" if asset.sha256 else f", as {asset.record} recorded at first use: remove that if the change is meant"
        return f"its SHA-256 is {found}, expected {expected}{origin}"
    if with_md5 and asset.md5 and (found := _md5(file)) != asset.md5.lower():
        return f"its MD5 is {found}, expected {asset.md5}"
    return ""


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


def _require_download(asset: Asset, problem: str) -> None:
    """Raise UsageError if the file may not be downloaded."""
    what = f"{asset.file} of {asset.id} {problem}"
    if not asset.url:
        raise UsageError(f"{what}, and it cannot be downloaded by this suite; {_by_hand(asset)}.")
    if offline():
        raise UsageError(f"{what}, and BENCH_OFFLINE=1 forbids downloading it; unset that, or {_by_hand(asset)}.")


def _by_hand(asset: Asset) -> str:
    where = f"from {asset.url}" if asset.url else f"as {asset.source} says"
    note = f" ({asset.note})" if asset.note else ""
    return f"get it {where}{note} and put it at {asset.path}"


def _download(asset: Asset, problem: str) -> None:
    """Put the right file in its place, or raise BenchError or ConnectionError and leave the place as it is.

    A wrong file is removed, so that no later download continues it.
    """
    from bench.files.download import discard, download, download_bar  # here: the network library takes 0.5 s to import

    if asset.path.exists():
        _tell(f"{asset.file} {problem}; it is downloaded again")
    _tell(f"downloading {asset.file} from {asset.url}; licence: {asset.licence}; source: {asset.source}")
    part = asset.path.with_name(f"{asset.path.name}.part")
    with download_bar(asset.file) as report:
        download(asset.url, part, report)
    try:
        if mismatch := _mismatch(asset, part, with_md5=True):
            raise BenchError(
                f"what comes as {asset.file} from {asset.url} is not the right file and was removed ({mismatch}); "
                f"run the same command again, or {_by_hand(asset)}."
            )
        part.replace(asset.path)
    finally:
        discard(part)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
