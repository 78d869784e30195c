"""Download over HTTP, continuing after a cut connection where the received bytes end.

Beside ``FILE.part`` lies ``FILE.part.from``: the URL, and the validator (RFC 9110, section 8.8)
that ties its bytes to one state of the published file. Without a validator, or for a file that has
changed, the download starts again from nothing.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from urllib3.exceptions import HTTPError

from bench.files.atomic import write_atomic
from bench.units import quantity

CONNECT_TIMEOUT = 20.0
"""Seconds to wait for a connection."""
READ_TIMEOUT = 60.0
"""Seconds to wait for the next byte."""
ATTEMPTS = 5
"""Attempts at one download, made as long as each brings some bytes."""
PAUSE = 1.0
"""Seconds between attempts."""
_CHUNK = 1 << 16  # bytes: a cut connection loses at most so many

Report = Callable[[int, int | None], None]
"""Called with the bytes received, and with those of the whole file, or None if that is unknown."""


def download(url: str, part: Path, report: Report) -> None:
    """Complete the file ``part``, continuing it if it holds the beginning of this download.

    Raises ConnectionError with the reason; the bytes received so far are kept.
    """
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE if attempt else 0)
        before = _size(part)
        try:
            _receive(url, part, report)
            return
        except (requests.RequestException, HTTPError) as error:
            broken: Exception = error
        if _size(part) <= before:
            break
    kept, _ = _kept(url, part)
    raise ConnectionError(
        _reason(broken) + (f"; {quantity(kept)}B are kept to continue from" if kept else "")
    ) from broken


@contextmanager
def download_bar(file: str) -> Iterator[Report]:
    """Show a download as a bar, if standard error is a terminal; yields the function that moves it."""
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(file, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def discard(part: Path) -> None:
    """Remove the files of an unfinished download."""
    part.unlink(missing_ok=True)
    _origin(part).unlink(missing_ok=True)


def _receive(url: str, part: Path, report: Report) -> None:
    """Make one request: append to ``part`` what it lacks, or begin anew if the server must."""
    have, validator = _kept(url, part)
    headers = {"Accept-Encoding": "identity"}  # uncompressed, so that bytes can be counted
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with requests.get(
        url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
    ) as response:
        status, extent = response.status_code, response.headers.get("Content-Range", "")
        if status == 416 and extent == f"bytes */{have}":
            return  # the file was complete already
        continues = (
            status == 206
            and extent.startswith(f"bytes {have}-")
            and _validator(response) in ("", validator)
        )
        if have and status in (206, 416) and not continues:
            discard(part)  # the published file has changed
            _receive(url, part, report)
            return
        if status != 200 and not continues:
            raise requests.HTTPError(response=response)
        if not continues:
            _begin(url, part, _validator(response))
            have = 0
        length = extent.rpartition("/")[2] if have else response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        with part.open("ab") as file:
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                have += len(chunk)
                report(have, total)
            file.flush()
            os.fsync(file.fileno())
        if total not in (None, have):
            raise HTTPError(f"the connection ended after {have} of {total} bytes")


def _begin(url: str, part: Path, validator: str) -> None:
    """Empty ``part`` and note where its bytes will come from.

    The order of the three steps matters: old bytes must never get a new validator.
    """
    _origin(part).unlink(missing_ok=True)
    part.open("wb").close()
    if validator:
        write_atomic(_origin(part), f"{url}\n{validator}\n")


def _kept(url: str, part: Path) -> tuple[int, str]:
    """Return how many bytes can be continued from this URL, and their validator; (0, "") if none."""
    try:
        origin, validator = _origin(part).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ValueError):
        return 0, ""
    return (_size(part), validator) if origin == url else (0, "")


def _origin(part: Path) -> Path:
    return part.with_name(f"{part.name}.from")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _validator(response: requests.Response) -> str:
    """Return the strong entity tag, else the time of the last change, else an empty text."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _reason(error: BaseException) -> str:
    """Say what failed in the words of the innermost error, which alone knows the cause."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    while error.__context__:
        error = error.__context__
    return getattr(error, "strerror", None) or str(error)
