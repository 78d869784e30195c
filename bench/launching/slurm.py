"""Carrying out a grid of runs on a cluster: each is an element of a Slurm job array, which submitit makes."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.errors import Interrupted, UsageError, one_line
from bench.files.atomic import write_atomic
from bench.files.documents import dump_yaml
from bench.launching.array_element import Element, require_submitit
from bench.launching.job_array import JobArray
from bench.launching.local import run_command, why_failed
from bench.runs.events import GridProgress, Note, Observer, ignore
from bench.runs.grid import GridRun
from bench.runs.recipe import Request
from bench.runs.record import Record
from bench.runs.store import find_asked
from bench.training.signals import stop_requests

CLUSTER = "slurm"
"""The executor of submitit; the tests have its local one."""
POLL_SECONDS = 0.3
"""Seconds between two looks at whether a stop is asked for."""
LOOK_SECONDS = 5.0
"""Seconds between two looks at the records and results."""
QUEUE_SECONDS = 60.0
"""Seconds between two looks at the queue, which many others ask too."""
ENDLESS = 10**6
"""Minutes of a job to submitit, whose count of time limits would end a long run; sbatch has the true one."""


class SlurmLauncher:
    """Carries out the waiting runs of a grid as a job array; one that fails is noted, and the others go on.

    The recipes, records and messages of the jobs are in ``slurm/`` of the results folder, which every node
    must see. A run that an earlier command has left in the queue is not submitted again.
    """

    def __init__(self, runs: list[GridRun], results: Path, array: JobArray) -> None:
        if "time" not in array.options:
            raise UsageError(
                "a run on a cluster needs its time limit; give one as in --slurm time=4:00:00."
            )
        self.submitit = require_submitit()
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self.runs, self.results, self.array = runs, results.absolute(), array
        self.jobs: list[tuple[GridRun, Any, Path]] = []
        """The runs in the queue, each with its job and the file of its record."""
        self.began: dict[int, float] = {}
        self.missed: set[str] = set()
        """Jobs that were not in the queue at the last look."""

    def carry_out(self, observe: Observer = ignore, *, wait: bool = True) -> None:
        """Submit all, and wait for them unless told otherwise.

        Raises Interrupted after SIGINT or SIGTERM; the jobs stay in the queue.
        """
        waiting = [run for run in self.runs if run.state == "waiting"]
        if not waiting:
            observe(GridProgress(self.runs))
            return
        self._find_submitted(waiting)
        submitted = [run for run, _, _ in self.jobs]
        self._submit([run for run in waiting if not any(run is other for other in submitted)])
        names = " ".join(dict.fromkeys(str(job.job_id).partition("_")[0] for _, job, _ in self.jobs))
        observe(
            Note(
                f"in the queue: {len(self.jobs)} of {len(self.runs)} runs; `scancel {names}` ends them."
            )
        )
        if wait:
            self._wait(observe, names)

    def _wait(self, observe: Observer, names: str) -> None:
        looked = asked = time.monotonic() - QUEUE_SECONDS
        with stop_requests("leaving the runs to the cluster", patient=True) as stop:
            while self.jobs and not stop.requested:
                if time.monotonic() - looked > LOOK_SECONDS:
                    gone: set[str] = set()
                    if time.monotonic() - asked > QUEUE_SECONDS:
                        gone, asked = self._gone(), time.monotonic()
                    self.jobs = [job for job in self.jobs if not self._has_ended(*job, gone)]
                    looked = time.monotonic()
                observe(GridProgress(self.runs))
                time.sleep(POLL_SECONDS)
            if self.jobs:
                raise Interrupted(
                    f"the runs go on without this command, which waits for them again; `scancel {names}` "
                    "ends them."
                )

    def _submit(self, waiting: Sequence[GridRun]) -> None:
        """Submit a job array of these runs."""
        if not waiting:
            return
        folder = self.results / "slurm" / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
        recipes = [folder / f"{number}.yaml" for number in range(len(waiting))]
        commands = []
        for run, recipe in zip(waiting, recipes, strict=True):
            write_atomic(recipe, _recipe_text(run.request))
            command = run_command(run.request, str(recipe), self.results)
            commands.append([*command, "--record", str(recipe.with_suffix(".json"))])
        try:
            executor = self._executor(folder)
            with self._outside_of_a_job():
                jobs = executor.map_array(Element(self.array.warning_seconds), commands)
        except (RuntimeError, self.submitit.core.utils.FailedJobError) as error:
            shutil.rmtree(folder)
            raise UsageError(f"the cluster takes no job ({one_line(error, 300)}).") from None
        for run, job, recipe in zip(waiting, jobs, recipes, strict=True):
            write_atomic(recipe.with_suffix(".job"), str(job.job_id))
            self.jobs.append((run, job, recipe.with_suffix(".json")))

    @contextmanager
    def _outside_of_a_job(self) -> Iterator[None]:
        """Hide what a job that this process may itself run in has set, but for where the cluster is."""
        where = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
        if "SLURM_JOB_ID" not in os.environ:
            yield
            return
        with self.submitit.helpers.clean_env():
            os.environ.update(where)
            yield

    def _executor(self, folder: Path) -> Any:
        """Make submitit's executor for the array."""
        array = self.array
        executor = self.submitit.AutoExecutor(
            folder, cluster=CLUSTER, slurm_python=f"{shlex.quote(sys.executable)} -P"
        )
        executor.update_parameters(
            timeout_min=ENDLESS,
            nodes=array.nodes,
            tasks_per_node=array.processes_per_node,
            slurm_signal_delay_s=array.warning_seconds,
            slurm_array_parallelism=array.at_once or len(self.runs),
            slurm_setup=["export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}"],
            slurm_additional_parameters={
                "requeue": True,
                **{name.replace("-", "_"): value for name, value in array.options.items()},
            },
        )
        return executor

    def _find_submitted(self, waiting: Sequence[GridRun]) -> None:
        """Find the jobs of earlier commands that are still in the queue and carry out some of these runs."""
        files = {file.read_text().strip(): file for file in self.results.glob("slurm/*/*.job")}
        queue = in_queue(files)
        found = {
            file.with_suffix(".yaml").read_text(): (name, file)
            for name, file in files.items()
            if queue and name in queue
        }
        for run in waiting:
            if (text := _recipe_text(run.request)) in found:
                name, file = found[text]
                job = self.submitit.SlurmJob(file.parent, name, range(self.array.processes))
                self.jobs.append((run, job, file.with_suffix(".json")))

    def _gone(self) -> set[str]:
        """Name the jobs that are in the queue no more, at two looks one after another."""
        names = {str(job.job_id) for _, job, _ in self.jobs}
        queue = in_queue(names)
        missing = set() if queue is None else names - queue
        gone, self.missed = missing & self.missed, missing
        return gone

    def _has_ended(self, run: GridRun, job: Any, file: Path, gone: set[str]) -> bool:
        """Tell whether a job is over; then its run says how it went, and else how it stands."""
        first = job.task(0)  # of several processes, the one that writes
        if first.paths.result_pickle.exists():
            try:
                code = first.result()
            except Exception as error:  # whatever the element raised, as a text
                run.state, run.error = "failed", f"job {job.job_id}: {one_line(error, 300)}"
                return True
            if code == 0 and file.exists():
                run.state, run.record = "done", Record.model_validate_json(file.read_bytes())
            else:
                run.state, run.error = "failed", why_failed(first.stderr() or "", code)
            return True
        run.record = find_asked(run.request, self.results) or run.record
        if str(job.job_id) in gone:
            run.state = "failed"
            run.error = (
                f"job {job.job_id} has left the queue without an answer; see {first.paths.stderr}"
            )
            return True
        works = run.record is not None and run.record.status in ("running", "done")
        run.state = "running" if works else "waiting"
        if works:
            run.seconds = time.monotonic() - self.began.setdefault(id(run), time.monotonic())
        return False


def _recipe_text(request: Request) -> str:
    """Write a request as the recipe file of its job."""
    return dump_yaml(request.model_dump(exclude={"device"}, exclude_none=True))


def in_queue(names: Sequence[str] | set[str] | dict[str, Path]) -> set[str] | None:
    """Return those of these jobs that are in the cluster's queue; None where it does not say."""
    if not names:
        return set()
    arrays = ",".join(sorted({name.partition("_")[0] for name in names}))
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={arrays}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    if said.returncode and "Invalid job id" not in said.stderr:
        return None
    return set(said.stdout.split())
