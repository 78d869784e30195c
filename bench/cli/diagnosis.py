"""What ``bench doctor`` looks at: each finding is sound, or a problem with its cure."""

import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path

import torch
from packaging.requirements import Requirement

from bench import registry
from bench.cli.files_needed import files_of
from bench.environment import PACKAGES, choose_device, device_name, free_memory, installed
from bench.errors import BenchError, one_line
from bench.factory import find_teacher_class
from bench.files.assets import Asset, dry_run, offline, problem_of
from bench.files.atomic import cache_folder, require_writable
from bench.units import quantity

DRIVER = Path("/proc/driver/nvidia/version")
"""There where a driver of NVIDIA is loaded."""
ON_DISK = 26
"""Networks' worth of bytes that a run writes at most: two states and one being written, of 8 each (DMD2's
have 7.4, SiD's 7.0), and the last and the best generator.
"""
IN_MEMORY = 10
"""Networks' worth of bytes that a run with a fake score holds, whatever its batch: the teacher, the two
that learn with their gradients and Adam's two moments, and the average.
"""


@dataclass(frozen=True)
class Finding:
    """A thing that was looked at, and how it is."""

    what: str
    text: str
    cure: str = ""
    """What to do about a problem; empty where there is none."""
    sound: bool = True


def problem(what: str, text: str, cure: str) -> Finding:
    """Make the finding of something that is not as it should be."""
    return Finding(what, text, cure, sound=False)


def tested(what: str, text: str, test: Callable[[], object], cure: str) -> Finding:
    """Make a finding of a test that raises BenchError where there is a problem."""
    try:
        test()
    except BenchError as error:
        return problem(what, str(error).rstrip("."), cure)
    return Finding(what, text)


def plugins(files: Iterable[str]) -> Iterator[Finding]:
    """Load plugin files, and look whether they can be."""
    for file in files:
        yield tested(
            "plugin", file, partial(registry.load_plugin, file), "mend the plugin, or give another"
        )


def installation() -> Iterator[Finding]:
    """Look at Python, the packages, and whether torch, its GPU and torchvision go together."""
    yield Finding("python", platform.python_version())
    for package in PACKAGES:
        version = installed(package)
        yield (
            Finding(package, version)
            if version
            else problem(package, "is not installed", "reinstall distill-bench")
        )
    yield _torchvision()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if (has_driver := DRIVER.exists() or shutil.which("nvidia-smi") is not None) and not gpus:
        yield _unused_gpu()
    if gpus or not has_driver:
        yield Finding("devices", ", ".join(["cpu", *gpus]) + f" ({os.cpu_count()} cores)")


def _unused_gpu() -> Finding:
    """Say why torch does not use the GPU of a machine that has one."""
    if torch.version.cuda is None:
        return problem(
            "devices",
            f"there is a driver of NVIDIA, and torch {torch.__version__} is built without CUDA",
            "install a build of torch with CUDA, as https://pytorch.org/get-started/locally says",
        )
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return problem(
            "devices",
            f"there is a driver of NVIDIA, and CUDA_VISIBLE_DEVICES={visible!r} leaves torch no GPU",
            "unset CUDA_VISIBLE_DEVICES, or name a GPU that `nvidia-smi -L` lists",
        )
    return problem(
        "devices",
        f"there is a driver of NVIDIA, and torch {torch.__version__} for CUDA {torch.version.cuda} finds no "
        "GPU",
        "compare the CUDA version that `nvidia-smi` prints: update the driver, or install a build of torch "
        "for an older CUDA",
    )


def _torchvision() -> Finding:
    """Look whether torchvision was made for the torch that is installed."""
    version, has = installed("torchvision"), installed("torch") or ""
    cure = "install both together: pip install --upgrade torch torchvision"
    if version is None:
        return problem("torchvision", "is not installed", cure)
    for each in map(Requirement, requires("torchvision") or ()):
        if each.name == "torch" and not each.specifier.contains(has, prereleases=True):
            return problem(
                "torchvision", f"{version} needs torch{each.specifier}, installed is {has}", cure
            )
    try:
        import_module("torchvision")
    except Exception as error:  # of another torch's libraries, which fail in many ways
        reason = (
            f"{version} does not import beside torch {has} ({type(error).__name__}: {one_line(error)})"
        )
        return problem("torchvision", reason, cure)
    return Finding("torchvision", version)


def folders(results: Path) -> Iterator[Finding]:
    """Look whether results and downloads can be written, and whether the network may be used."""
    for what, folder, cure in (
        (
            "results",
            results,
            "give --results another folder, or set BENCH_RESULTS, or see to its permissions",
        ),
        ("cache", cache_folder(), "set BENCH_CACHE to another folder, or see to its permissions"),
    ):
        yield tested(what, str(folder), partial(require_writable, folder, f"{what} folder"), cure)
    yield Finding("network", "off (BENCH_OFFLINE=1)" if offline() else "allowed")


def registered() -> Iterator[Finding]:
    """Look whether every registered thing imports and fulfils its contract."""
    for kind, things in registry.REGISTRIES.items():
        for name, entry in things.entries().items():
            cure = f"mend, update or uninstall what provides it: {entry.origin}"
            yield tested(kind, f"{name}, {entry.origin}", partial(things.get, name), cure)


def readiness(name: str, results: Path) -> Iterator[Finding]:
    """Look whether a teacher's files are at hand and whole, and whether disk and memory hold a run of it.

    Nothing is downloaded. Raises UsageError for an unknown teacher.
    """
    teacher_class, source = find_teacher_class(name)
    fetch = f"bench fetch teacher:{name}"
    missing = 0
    for asset in files_of("teacher", name) if not source else ():
        found = _file(asset, fetch)
        missing += not found.sound and asset in teacher_class.assets
        yield found
    try:
        with dry_run():
            denoiser = teacher_class(None, source).denoiser
    except BenchError as error:
        yield problem("weights", str(error).rstrip("."), fetch)
        return
    size = 4 * sum(p.numel() for p in denoiser.parameters())
    yield from _disk(2 * size * missing, ON_DISK * size, results)
    device = choose_device("auto")
    where = "memory" if device.type == "cpu" else "GPU memory"
    need, free = IN_MEMORY * size, free_memory(device)
    text = (
        f"{quantity(free)}B are free on {device_name(device)}; a run holds {quantity(need)}B and batches"
    )
    cure = "use a larger machine, or end what else is running; `bench run --dry-run` estimates a run"
    yield Finding(where, text) if need < free else problem(where, text, cure)


def _file(asset: Asset, fetch: str) -> Finding:
    """Look at a file in the cache, all of which is read."""
    try:
        flaw = problem_of(asset)
    except BenchError as error:
        return problem("file", str(error).rstrip("."), f"remove {asset.record}, and {fetch}")
    except OSError as error:
        return problem("file", f"{asset.path}: {error.strerror}", "see to its permissions")
    if not flaw:
        known = "as its SHA-256 says" if asset.digest() else "whose SHA-256 is kept at its first use"
        return Finding("file", f"{asset.path}, {known}")
    by_hand = f"get it as {asset.source} says and put it at {asset.path}"
    offline_too = "unset BENCH_OFFLINE, and " if offline() else ""
    return problem(
        "file", f"{asset.file} of {asset.id} {flaw}", offline_too + fetch if asset.url else by_hand
    )


def _disk(in_cache: int, in_results: int, results: Path) -> Iterator[Finding]:
    """Look whether the folders' disks have room for what is to be written there."""
    needs: dict[int, tuple[Path, int]] = {}
    for folder, need in ((results, in_results), (cache_folder(), in_cache)):
        place = _nearest(folder)
        first, before = needs.get(place.stat().st_dev, (place, 0))
        needs[place.stat().st_dev] = first, before + need
    for place, need in needs.values():
        free = shutil.disk_usage(place).free
        text = f"{quantity(free)}B are free at {place}; downloads and a run take {quantity(need)}B"
        cure = "make room, or set BENCH_CACHE and BENCH_RESULTS to folders of a larger disk"
        yield Finding("disk", text) if need < free else problem("disk", text, cure)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest of its parents that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
