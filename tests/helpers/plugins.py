"""Plugin files as a user would write them."""

from __future__ import annotations

from pathlib import Path

METHOD = '''
"""A plugin."""
import torch
from bench.plugin import Adam, Method, Step, register_method

@register_method("{name}")
class Constant(Method):
    """Regresses the generator to zero."""

    def build(self, teacher):
        self.generator = teacher.trainable_copy()

    def steps(self):
        loss = lambda batch: self.generate(batch.z).square().mean((1, 2, 3))
        return [Step("generator", self.generator, loss, Adam(self.settings.lr))]

    def generate(self, z, labels=None):
        return self.generator(z, 1.0)
'''
"""A method, but for its name."""

SETTINGS = {"batch": 16, "lr": 1e-3, "lr_decay": 0, "ema_halflife": 100, "dropout": 0}
"""All that this method has to be told."""


def plugin(folder: Path, text: str, name: str = "plugin.py") -> Path:
    """Write a plugin file."""
    file = folder / name
    file.write_text(text)
    return file


def set_flags(settings: dict[str, object]) -> list[str]:
    """Settings as the command line takes them: ``--set NAME=VALUE`` for each."""
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
