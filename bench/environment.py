"""The environment of a run: device, precision, CPU threads, and versions of packages."""

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench import distributed
from bench.errors import UsageError

PACKAGES = (
    "distill-bench",
    "torch",
    "numpy",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "clean-fid",
    "torch-fidelity",
)
_LARGE = 2_000_000
"""Parameters below which a network trains faster on one CPU thread, above all on a busy machine."""


def choose_device(name: str) -> torch.device:
    """Return the device of this name: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    A GPU always comes with its number, as tensors have it, so that devices can be compared; each of
    several processes gets the GPU of its own. Raises UsageError for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{distributed.local_rank()}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; expected auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"the device {name!r} is not supported; expected auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise UsageError(
            f"the device {name!r} is not there, torch sees {torch.cuda.device_count()} GPUs; use "
            "--device cpu."
        )
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Replace ``auto`` by tf32 on a GPU and by fp32 on a CPU; return any other name as it is.

    Raises UsageError for a precision that needs a GPU, on a CPU.
    """
    if name == "auto":
        name = "tf32" if device.type == "cuda" else "fp32"
    if name in ("tf32", "fp16") and device.type != "cuda":
        raise UsageError(
            f"the precision {name!r} needs a GPU, the device is a CPU; use --precision fp32, or bf16, which "
            "is faster on a CPU with AMX."
        )
    return name


def set_precision(name: str) -> None:
    """Make torch compute float32 in this precision: with TF32 for ``tf32``, exactly for all others."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"


def set_deterministic(wanted: bool, device: torch.device) -> None:
    """Let a GPU compute by algorithms that give the same bits each time; a CPU does in any case.

    An operation without such an algorithm then raises RuntimeError.
    """
    if device.type == "cuda":
        if wanted:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(wanted)
        torch.backends.cudnn.deterministic = wanted


_ALL_THREADS = torch.get_num_threads()


def choose_threads(network: nn.Module) -> None:
    """Use one CPU thread for a small network, and torch's default number for a large one."""
    torch.set_num_threads(_ALL_THREADS if is_large(network) else 1)


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_large(network: nn.Module) -> bool:
    """Tell whether a network has the size of a published one rather than of an embedded one."""
    return sum(p.numel() for p in network.parameters()) >= _LARGE


@contextmanager
def all_threads(enabled: bool) -> Iterator[None]:
    """Use torch's default number of CPU threads in this context, or one thread if not ``enabled``."""
    before = torch.get_num_threads()
    torch.set_num_threads(_ALL_THREADS if enabled else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute in full float32 in this context, as protocols require, whatever the training uses."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def peak_memory(device: torch.device) -> int:
    """Return the peak memory so far in bytes: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # Linux, where getrusage counts the parent's memory too
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory(device: torch.device) -> int:
    """Return the bytes that are left: on the GPU for this process, or in this machine's memory."""
    if device.type == "cuda":
        # What torch holds and does not use is free to this process.
        held = torch.cuda.memory_reserved(device)
        return torch.cuda.mem_get_info(device)[0] + held
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({_processor()})"


def describe(device: torch.device, precision: str) -> dict[str, Any]:
    """Return the ``environment`` of a record."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "world_size": distributed.world_size(),
        "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "commit": _commit(),
        "packages": {name: release for name in PACKAGES if (release := installed(name))},
    }


def installed(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def _commit() -> str | None:
    """Return the commit of the suite's checkout, ``-dirty`` if changed, or None without one."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--match", ""],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
