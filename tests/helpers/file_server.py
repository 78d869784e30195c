"""A server on this machine that has one file under every path, and behaves as badly as it is told to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
OTHER = np.random.default_rng(1).bytes(1_000_000)
"""What the file may change to."""


class FileServer(ThreadingHTTPServer):
    """Its attributes say what it has and how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/weights.pkl"
        self.content, self.headers, self.status = CONTENT, {"ETag": '"one"'}, 200
        self.cuts: list[int | None] = []
        """Bytes after which each of the next answers breaks off."""
        self.stalls: list[int | None] = []
        """Bytes after which each of the next answers falls silent, on a connection that stays open."""
        self.released = threading.Event()
        """Ends all silence."""
        self.ranges, self.if_range = True, True
        """Whether it answers with a part when asked for one, and looks whether that is of the same file."""
        self.at_most, self.shift = len(CONTENT), 0
        """The most bytes of a part, and how far it begins from where it was asked to."""
        self.asked: list[tuple[str | None, int]] = []
        """The Range that each request named, and the status of the answer."""

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""

    def statuses(self) -> list[int]:
        return [status for _, status in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        status, first, body = self._answer()
        server.asked.append((self.headers.get("Range"), status))
        self.send_response(status)
        if status == 206:
            self.send_header(
                "Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(server.content)}"
            )
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        stall = server.stalls.pop(0) if server.stalls else None
        try:
            self.wfile.write(body[: cut if cut is not None else stall])
            if stall is not None:
                server.released.wait()
                self.wfile.write(body[stall:])
        except OSError:  # the client has gone
            pass
        self.close_connection = cut is not None

    def _answer(self) -> tuple[int, int, bytes]:
        """The status, the place of the first byte, and the bytes."""
        server, wanted = self.server, self.headers.get("Range")
        current = self.headers.get("If-Range", "-") in (
            server.headers.get("ETag"),
            server.headers.get("Last-Modified"),
        )
        if (
            server.status != 200
            or not wanted
            or not server.ranges
            or not (current or not server.if_range)
        ):
            return server.status, 0, server.content
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) + server.shift
        if first - server.shift >= len(server.content):
            return 416, 0, b""
        return 206, first, server.content[first:][: server.at_most]


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server at work."""
    with FileServer() as server:
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
