"""A cluster of one machine: munged, slurmctld and slurmd of the packages ``slurm-wlm`` and ``munge``, as
processes of a test, in a folder of their own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.helpers.waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
MISSING = [program for program in PROGRAMS if shutil.which(program, path=SBIN) is None]
if os.name != "posix" or os.geteuid() != 0:
    MISSING.append("root")  # slurmd starts every job's processes as their user
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
NodeName={host} CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


@contextmanager
def slurm_machine(folder: Path, cpus: int) -> Iterator[dict[str, str]]:
    """Start the cluster, and yield the environment in which its commands find it."""
    folder.mkdir()
    key, socket_file = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=host, controller=free_port(), node=free_port(), folder=folder, cpus=cpus
        )
    )
    environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": SBIN}
    daemons = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket_file}"]
        + [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")],
        ["slurmctld", "-D", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration)],
    ]
    with ExitStack() as stack:
        for number, command in enumerate(daemons):
            log = stack.enter_context((folder / f"{command[0]}.out").open("wb"))
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            if number == 0:
                wait_until(socket_file.exists, "munged listens", process)
        stack.callback(subprocess.run, ["scancel", "--user=root"], env=environment, capture_output=True)

        def state() -> str:
            said = subprocess.run(
                ["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True
            )
            return said.stdout.strip()

        wait_until(lambda: state() == "idle", "the node is idle")
        yield environment
