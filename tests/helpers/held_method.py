"""A method whose training waits, in the middle of a run, for a signal: a test stops the run at a
known update.
"""

from __future__ import annotations

from pathlib import Path

from tests.helpers import plugins

UPDATE = 60
"""The update in which it waits."""
BUDGET = "images=8k"
"""Of a run: 125 updates of 64 images, with a line of the training curve after 50 and after 100."""
CURVE = [50 * 64, 100 * 64]
FOLDER = "BENCH_TEST_HELD"
"""The environment variable that names the folder for the marks of those who wait; without it nobody
waits.
"""
SETTINGS = plugins.SETTINGS | {"batch": 64}

METHOD = '''
"""Regresses the generator to zero, and waits in one update until a signal has come."""
import os
import signal
from pathlib import Path

from bench.plugin import Adam, Method, Step, register_method


@register_method("held")
class Held(Method):
    """Waits for a signal."""

    updates = 0

    def build(self, teacher):
        self.generator = teacher.trainable_copy()

    def steps(self):
        return [Step("generator", self.generator, self.loss, Adam(self.settings.lr))]

    def generate(self, z, labels=None):
        return self.generator(z, 1.0)

    def loss(self, batch):
        self.updates += 1
        if self.updates == {update} and (folder := os.environ.get("{folder}")):
            wait_for_a_signal(Path(folder))
        return self.generate(batch.z).square().mean((1, 2, 3))


def wait_for_a_signal(folder):
    """Leave a mark, named after this process, and wait; a signal that comes before the wait begins ends it too."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    (folder / str(os.getpid())).touch()
    os.read(read, 1)
    signal.set_wakeup_fd(before)
'''


def plugin_file(folder: Path, *, once: bool = False) -> Path:
    """The plugin file of the method ``held``; with ``once`` nobody waits after somebody has."""
    text = METHOD.replace("{update}", str(UPDATE)).replace("{folder}", FOLDER)
    if once:
        text = text.replace('")):', '")) and not any(Path(folder).iterdir()):')
    file = folder / "held.py"
    file.write_text(text)
    return file
