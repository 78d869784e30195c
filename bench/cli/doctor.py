"""``bench doctor``: what is installed, found and missing."""

from __future__ import annotations

import typer

from bench.cli.options import Plugins, Results


def doctor(results: Results = None, plugin: Plugins = None) -> None:
    """Check the installation: versions, devices, folders, and that every registered thing imports. Exit code 1 on a problem.

    Example: bench doctor
    """
    import os
    import platform

    from bench import registry
    from bench.errors import BenchError
    from bench.files.assets import offline
    from bench.files.atomic import cache_folder, require_writable
    from bench.runs.store import results_folder

    problems = 0

    def line(good: bool, what: str, found: str) -> None:
        nonlocal problems
        problems += not good
        typer.echo(f"{'ok  ' if good else 'FAIL'}  {what:<18} {found}")

    for file in plugin or []:
        try:
            registry.load_plugin(file)
            line(True, "plugin", file)
        except BenchError as error:
            line(False, "plugin", str(error))
    import torch

    from bench.environment import PACKAGES, installed

    line(True, "python", platform.python_version())
    for package in PACKAGES:
        version = installed(package)
        line(version is not None, package, version or "not installed; reinstall distill-bench")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    line(True, "devices", ", ".join(["cpu", *gpus]) + f" ({os.cpu_count()} cores)")
    for what, folder in (("results", results_folder(results)), ("cache", cache_folder())):
        try:
            require_writable(folder, f"{what} folder")
            line(True, what, str(folder))
        except BenchError as error:
            line(False, what, str(error))
    line(True, "network", "off (BENCH_OFFLINE=1)" if offline() else "allowed")
    for kind in registry.REGISTRIES:
        for name, entry in registry.REGISTRIES[kind].entries().items():
            try:
                registry.REGISTRIES[kind].get(name)
                line(True, kind, f"{name}, {entry.origin}")
            except BenchError as error:
                line(False, kind, str(error))
    if problems:
        raise typer.Exit(1)
