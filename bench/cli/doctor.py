"""``bench doctor``: what is installed and what is missing."""

import os
import platform
from collections.abc import Callable
from functools import partial

import torch
import typer

from bench import registry
from bench.cli.options import PluginFiles, Results
from bench.environment import PACKAGES, installed
from bench.errors import BenchError
from bench.files.assets import offline
from bench.files.atomic import cache_folder, require_writable


def command(*, results: Results, plugin: PluginFiles = None) -> None:
    """Check the installation: versions, devices, folders, and that every registered thing
    imports. Exit code 1 on a problem.

    Example: bench doctor
    """
    checks = [_check("plugin", file, partial(registry.load_plugin, file)) for file in plugin or []]
    _line(True, "python", platform.python_version())
    for package in PACKAGES:
        version = installed(package)
        checks.append(
            _line(version is not None, package, version or "not installed; reinstall distill-bench")
        )
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    _line(True, "devices", ", ".join(["cpu", *gpus]) + f" ({os.cpu_count()} cores)")
    for what, folder in (("results", results), ("cache", cache_folder())):
        checks.append(_check(what, str(folder), partial(require_writable, folder, f"{what} folder")))
    _line(True, "network", "off (BENCH_OFFLINE=1)" if offline() else "allowed")
    for kind, things in registry.REGISTRIES.items():
        for name, entry in things.entries().items():
            checks.append(_check(kind, f"{name}, {entry.origin}", partial(things.get, name)))
    if not all(checks):
        raise typer.Exit(1)


def _check(what: str, description: str, test: Callable[[], object]) -> bool:
    """Write a line with the description, or with the test's error, and tell whether it passed."""
    try:
        test()
    except BenchError as error:
        return _line(False, what, str(error))
    return _line(True, what, description)


def _line(good: bool, what: str, text: str) -> bool:
    """Write one line, and return whether it is good."""
    typer.echo(f"{'ok  ' if good else 'FAIL'}  {what:<18} {text}")
    return good
