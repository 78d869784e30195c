"""A grid of runs as one script for ``sbatch``, which a person can read and change."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.launching.job_array import JobArray
from bench.launching.local import run_command
from bench.runs.recipe import Request

SCRIPT = """\
#!/bin/bash
# {count} of distill-bench as a job array. A run that is stopped by its time limit, or to make room for
# another job, saves its checkpoint and is queued again.
{options}

runs=(
{runs}
)
recipe={folder}/$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID.yaml
mkdir -p {folder}
printf '%s\\n' "${{runs[SLURM_ARRAY_TASK_ID]}}" > "$recipe"

export SRUN_CPUS_PER_TASK=${{SLURM_CPUS_PER_TASK:-1}}
{command}
code=$?
if [ "$code" -eq 75 ]; then  # interrupted, with the checkpoint saved
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
"""
TOGETHER = """\
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 40000))
srun bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS exec "$@"' bash \\
    """


def sbatch_script(requests: Sequence[Request], results: Path, array: JobArray) -> str:
    """Write the script that carries out each request as one element of a job array.

    Its results are in ``results``, which every node must see.
    """
    results = results.absolute()
    command = shlex.join(run_command(requests[0], "RECIPE", results)).replace("RECIPE", '"$recipe"', 1)
    return SCRIPT.format(
        count=f"{len(requests)} run{'s' * (len(requests) > 1)}",
        options="\n".join(f"#SBATCH --{option}" for option in _options(len(requests), array)),
        runs="\n".join(f"  {shlex.quote(_recipe(request))}" for request in requests),
        folder=shlex.quote(str(results / "slurm")),
        command=(TOGETHER if array.processes > 1 else "srun ") + command,
    )


def _options(count: int, array: JobArray) -> list[str]:
    at_once = f"%{array.at_once}" if array.at_once else ""
    own = [
        f"array=0-{count - 1}{at_once}",
        f"nodes={array.nodes}",
        f"ntasks-per-node={array.processes_per_node}",
        f"signal=USR1@{array.warning_seconds}",
        "requeue",
        "open-mode=append",
    ]
    given = [f"{name}={shlex.quote(value)}" for name, value in array.options.items()]
    return [*given, *own]


def _recipe(request: Request) -> str:
    """Write a request as one line, which is YAML as well, without what has its default."""
    fields = request.model_dump(mode="json", exclude={"device"}, exclude_defaults=True)
    return json.dumps(
        {"method": request.method, "teacher": request.teacher, "seed": request.seed} | fields
    )
