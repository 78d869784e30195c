"""Headless Chromium, driven through its DevTools protocol over a pipe, as a person would: by
clicking, typing and reading.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
KEYS = {
    "Tab": 9,
    "Enter": 13,
    " ": 32,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}
HANGS = 600.0
"""Seconds without an answer after which the browser is taken to hang."""


def chromium() -> str | None:
    """The browser's program, if it is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. ``errors`` are what it logged or threw, ``requests`` what it asked the network for."""

    def __init__(self, folder: Path) -> None:
        program = chromium()
        assert program, (
            f"none of {', '.join(NAMES)} is installed; .ci/run does it, or apt-get install chromium"
        )
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        theirs = [
            fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (read, write)
        ]  # out of the way of 3 and 4, where it listens
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
        ]
        flags += [
            "--remote-debugging-pipe",
            "--disable-background-networking",
            f"--user-data-dir={folder}",
        ]

        def place() -> None:
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self.process = subprocess.Popen(
            [program, *flags, "about:blank"],
            close_fds=False,
            preexec_fn=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (read, write, *theirs):
            os.close(end)
        self._buffer, self._count, self._session = b"", 0, None
        self._events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._session = None
        try:
            self.call("Browser.close")
            self.process.wait(HANGS)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters):
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while (answer := self._next()).get("id") != self._count:
            self._events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _next(self) -> dict:
        deadline = time.monotonic() + HANGS
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise OSError("the browser has gone")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, file: Path) -> None:
        """Show a file; it has loaded, its scripts have run and a frame is ready to be painted when
        this returns.
        """
        self._events.clear()
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.js(
            "new Promise(done => document.readyState === 'complete' ? done() : "
            "addEventListener('load', done))"
        )
        self.frame()

    def frame(self) -> None:
        """Let the page draw what it was told."""
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def js(self, expression: str):
        """The value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", expression))
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What can be read in the first element."""
        return self.js(f"document.querySelector({json.dumps(selector)}).innerText")

    def texts(self, selector: str) -> list[str]:
        """What can be read in each element; of parts of a drawing, their text."""
        return self.js(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText ?? e.textContent)"
        )

    def count(self, selector: str) -> int:
        return self.js(f"document.querySelectorAll({json.dumps(selector)}).length")

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element is seen, after scrolling to it."""
        box = f"const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}}); const b = "
        x, y = self.js(
            f"(() => {{{box}e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]}})()"
        )
        return x, y

    def point(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.frame()

    def click(self, selector: str) -> None:
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.frame()

    def press(self, key: str, *, shift: bool = False) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        event = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": KEYS[key],
            "modifiers": 8 * shift,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)
        self.frame()

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)
        self.frame()

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list."""
        chosen = (
            f"e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change', {{bubbles: true}}))"
        )
        self.js(f"(() => {{const e = document.querySelector({json.dumps(selector)}); {chosen}}})()")
        self.frame()

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1 + phone,
            mobile=phone,
        )
        self.frame()

    def colours(self, scheme: str) -> None:
        """``light`` or ``dark``, as the person's system has it."""
        self.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.frame()

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(picture["data"]))

    @property
    def errors(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and what the page's policy blocked."""
        self.js("0")  # collects what has happened by now
        found = []
        for event in self._events:
            content = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(content["exceptionDetails"]["exception"].get("description", ""))
            elif event["method"] == "Runtime.consoleAPICalled" and content["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(str(content["args"]))
            elif event["method"] == "Log.entryAdded" and content["entry"]["level"] in (
                "error",
                "warning",
            ):
                found.append(content["entry"]["text"])
        return found

    @property
    def requests(self) -> list[str]:
        """Addresses that the page asked for, beyond itself and what it carries."""
        self.js("0")
        asked = [
            e["params"]["request"]["url"]
            for e in self._events
            if e["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith(("data:", "file:"))]
