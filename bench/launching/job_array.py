"""A job array of Slurm: what each run of a grid asks of the cluster, in the words of ``sbatch``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bench.errors import UsageError

WARNING_SECONDS = 120
"""Seconds before its time limit in which a run saves its checkpoint."""
OWN = {"array", "ntasks", "ntasks-per-node", "requeue", "no-requeue"}
"""Options of sbatch that the suite itself sets."""
OF_GPUS = {"gres", "gpus", "gpus-per-node", "gpus-per-task"}
"""Options of sbatch by which GPUs are asked for."""


@dataclass(frozen=True)
class JobArray:
    """The needs of one run, which is one element of a job array."""

    options: dict[str, str]
    """Options of sbatch by their long names."""
    nodes: int = 1
    processes_per_node: int = 1
    """Processes that share a run, one for each of its GPUs."""
    at_once: int | None = None
    """Runs at a time; None leaves it to the cluster."""
    warning_seconds: int = WARNING_SECONDS

    @property
    def processes(self) -> int:
        """The number of processes that share a run."""
        return self.nodes * self.processes_per_node


def make_job_array(
    given: Mapping[str, str], device: str, gpus_per_run: int, at_once: int | None = None
) -> JobArray:
    """Make a job array of the options of sbatch that a person gives, such as ``time`` and ``partition``.

    GPUs are asked for unless the device is the CPU or an option names some. ``gpus_per_run`` are those on
    each node. Raises UsageError for an option that sbatch cannot have or that the suite sets.
    """
    options = {"job-name": "bench"}
    for name, value in given.items():
        key = name.removeprefix("--").replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z0-9-]*", key) or not str(value).isprintable():
            raise UsageError(
                f"--slurm {f'{name}={value}'[:60]!r} is no option of sbatch; give its long name, such as "
                "partition=gpu."
            )
        if key in OWN:
            raise UsageError(
                f"--slurm {key}: the suite sets this option of sbatch itself; leave it out."
            )
        options[key] = str(value)
    if device != "cpu" and not OF_GPUS & options.keys():
        options["gpus-per-node"] = str(gpus_per_run)
    signal = options.pop("signal", str(WARNING_SECONDS))
    return JobArray(
        options,
        nodes=_number("nodes", options.pop("nodes", "1"), "2"),
        processes_per_node=gpus_per_run,
        at_once=at_once,
        warning_seconds=_number("signal", signal.rpartition("@")[2], "USR1@300"),
    )


def parse_option(text: str) -> tuple[str, str]:
    """Split ``time=4:00:00`` into a name and a value. Raises UsageError for what is not of that form."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"--slurm {text[:60]!r} is not of the form KEY=VALUE, such as time=4:00:00.")
    return name.strip(), value.strip()


def _number(name: str, text: str, example: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text) or not int(text):
        raise UsageError(
            f"--slurm {name}: {text[:60]!r} is not a whole number above 0; give one as in {name}={example}."
        )
    return int(text)
