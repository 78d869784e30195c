"""Several processes train what one trains: the same weights, ledger and numbers, also after one was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.errors import Held, UsageError
from bench.files.tensors import load_tensors
from bench.launching.local import runs_at_once
from bench.launching.ranks import require_gpus, run_together
from bench.runs.folder import RunFolder
from bench.runs.recipe import make_request
from bench.training.checkpoint import Checkpoint
from bench.training.job import make_job
from tests.helpers.trainers import TRAINED, make_trainer
from tests.helpers.waiting import wait_until

ROOT = Path(__file__).parents[2]

WORKER = """
import sys
from pathlib import Path
import torch
from bench import distributed
from bench.files.tensors import save_tensors
from bench.runs.recipe import make_request
from bench.training import real_images
from bench.training.job import make_job
from tests.helpers.trainers import CPU, TRAINED, trainer_for
from tests.training.test_parts import GROUPS

from_uint8 = real_images.from_uint8
real_images.from_uint8 = lambda pixels: from_uint8(pixels).double()
torch.set_num_threads(1)
weights, ledgers = {}, {}
with distributed.process_group(CPU):
    for number, (method, settings) in enumerate(TRAINED):
        torch.set_default_dtype(torch.float32)
        asked = settings | GROUPS.get(method, {}) | {"batch": 32}
        job = make_job(make_request(method=method, teacher="edm-digits", budget="images=10k", settings=asked))
        torch.set_default_dtype(torch.float64)
        job.teacher.denoiser.double()
        trainer = trainer_for(job, CPU)
        if trainer.pairs is not None:
            trainer.pairs.z, trainer.pairs.images = trainer.pairs.z.double(), trainer.pairs.images.double()
        # With a discriminator a rounding error grows tenfold in a few updates.
        for _ in range(50 if method == "sid" else 12):
            trainer.iteration()
        curve = trainer.curve_values()
        flat = torch.cat([p.detach().flatten() for p in trainer.method.generator.parameters()])
        weights[f"weights {number}"] = flat
        weights[f"curve {number}"] = torch.tensor(list(curve.values()))
        ledgers[number] = trainer.ledger.model_dump(exclude={"seconds"})
if distributed.is_main():
    save_tensors(Path(sys.argv[1]), weights, {"ledgers": ledgers})
"""

DYING = '''
"""SiD, of which process 1 is killed at its 30th update unless the file DONE is there."""
import os, signal
from pathlib import Path
from bench.plugin import register_method
from bench.training import checkpoint
from methods.sid import SiD

checkpoint.SECONDS, checkpoint.SHARE = 0.0, 1e9
updates = 0

@register_method("dying")
class Dying(SiD):
    def generator_loss(self, batch):
        global updates
        updates += 1
        if updates == 30 and os.environ.get("RANK") == "1" and not Path(os.environ["DONE"]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().generator_loss(batch)
'''


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What one process and two make of every method in 50 updates."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "worker.py"
    script.write_text(WORKER)
    found = []
    for count in (1, 2):
        file = folder / f"{count}.safetensors"
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        assert run_together([sys.executable, str(script), str(file)], count, environment) == 0
        found.append(load_tensors(file))
    return found


@pytest.mark.parametrize("number", range(len(TRAINED)), ids=lambda n: f"{TRAINED[n][0]}-{n}")
def test_two_processes_train_what_one_does(trained, number):
    """After 50 updates of SiD in float64, and 12 of others: equal weights and losses but for rounding, and equal ledgers."""
    (one, meta), (two, other) = trained
    difference = one[f"weights {number}"] - two[f"weights {number}"]
    assert difference.norm() <= 1e-7 * one[f"weights {number}"].norm()
    torch.testing.assert_close(one[f"curve {number}"], two[f"curve {number}"], rtol=1e-5, atol=1e-5)
    assert meta["ledgers"][str(number)] == other["ledgers"][str(number)]


def asked(results: Path, plugin: Path) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "bench", "run", "--method", "dying", "--teacher", "edm-digits"),
        *("--plugin", str(plugin), "--budget", "updates=60", "--eval", "fid", "--eval-samples", "600"),
        *("--eval-points", "3", "--set", "batch=64", "--set", "alpha=1.0", "--set", "tmax=0.8"),
        *("--set", "init_sigma=2.5", "--set", "lr=1e-3", "--set", "fake_lr=1e-3", "--set", "lr_decay=0"),
        *(
            "--set",
            "ema_halflife=1000",
            "--set",
            "dropout=0",
            "--set",
            "augment=false",
            "--set",
            "beta1=0",
        ),
        *("--device", "cpu", "--no-teacher", "--results", str(results)),
    ]


def test_a_killed_process_ends_the_job_and_one_alone_continues_it(tmp_path, capfd):
    """The job of two ends with an error, and is resumed by one to what one alone would have made."""
    plugin = tmp_path / "dying.py"
    plugin.write_text(DYING)
    done = tmp_path / "done"
    environment = dict(os.environ, DONE=str(done), PYTHONPATH=str(ROOT))
    assert run_together(asked(tmp_path / "killed", plugin), 2, environment) != 0
    (path,) = (tmp_path / "killed").iterdir()
    folder = RunFolder(path)
    assert folder.read_record().status in ("running", "failed")
    assert 0 < int(folder.states()[0].stem.split("-")[1]) < 30
    done.touch()
    for results in ("killed", "straight"):
        command = asked(tmp_path / results, plugin)
        subprocess.run(command, env=environment, check=True, capture_output=True)
    records = [RunFolder(tmp_path / r / path.name).read_record() for r in ("killed", "straight")]
    assert records[0].status == "done"
    assert records[0].final == pytest.approx(records[1].final, rel=1e-3)
    assert records[0].cost.model_dump(exclude={"seconds", "peak_memory_bytes"}) == records[
        1
    ].cost.model_dump(exclude={"seconds", "peak_memory_bytes"})
    one, other = (
        load_tensors(RunFolder(tmp_path / r / path.name).weights)[0] for r in ("killed", "straight")
    )
    for name, tensor in one.items():
        assert (tensor - other[name]).norm() <= 1e-4 * tensor.norm().clamp_min(1), name


def test_a_teacher_that_somebody_else_measures_ends_the_job_before_any_number_is_taken(tmp_path):
    """One process alone is turned away; the others must not go on beside it."""
    sizes = {"eval": ["fid"], "eval_samples": 600}
    teacher = make_job(make_request(method="teacher", teacher="edm-digits", **sizes)).recipe.run_id
    command = [
        *(sys.executable, "-P", "-m", "bench", "run", "--method", "sid", "--teacher", "edm-digits"),
        *("--budget", "updates=4", "--eval", "fid", "--eval-samples", "600", "--device", "cpu"),
        *("--results", str(tmp_path)),
    ]
    with RunFolder(tmp_path / teacher).locked():
        assert run_together(command, 2, dict(os.environ, PYTHONPATH=str(ROOT))) == Held.exit_code
    assert not list(tmp_path.glob("sid-*/record.json"))


def test_the_others_wait_for_the_writing_of_a_checkpoint_and_not_in_an_update(tmp_path, monkeypatch):
    """Else its seconds would be charged as training, and a stop would end the writer."""
    order = []
    monkeypatch.setattr(Checkpoint, "_write", lambda self: order.append("written"))
    monkeypatch.setattr("bench.distributed.wait_for_all", lambda: order.append("all there"))
    trainer = make_trainer("sid", batch=8)
    Checkpoint(trainer, SimpleNamespace(folder=RunFolder(tmp_path)), keep=2).save()
    assert order == ["written", "all there"]


def test_a_signal_and_every_further_one_goes_to_all_processes(tmp_path):
    """The first asks, the second stops at once what has not ended."""
    code = f"""
import os, pathlib, signal, time

def say(what):
    pathlib.Path({str(tmp_path)!r}, what + os.environ["RANK"]).touch()

def asked(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    say("asked")

signal.signal(signal.SIGTERM, asked)
say("there")
while True:
    time.sleep(1)
"""
    parent = f"""
import os, sys
from bench.launching.ranks import run_together
sys.exit(run_together([sys.executable, "-c", {code!r}], 2, dict(os.environ)))
"""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment)
    for what in ("there", "asked"):
        wait_until(lambda what=what: len(list(tmp_path.glob(f"{what}*"))) == 2, what, process)
        process.send_signal(signal.SIGTERM)
    assert process.wait(600) == 1


def test_the_exit_code_of_the_processes_is_theirs():
    def end(code: str, count: int = 2) -> int:
        return run_together([sys.executable, "-c", f"import os; {code}"], count, dict(os.environ))

    assert end("pass") == 0
    assert end("raise SystemExit(75)") == 75
    assert end("raise SystemExit(3 * int(os.environ['RANK']))") == 3


def test_processes_that_wait_for_one_that_has_failed_are_ended(monkeypatch):
    monkeypatch.setattr("bench.launching.ranks.LEFT_SECONDS", 0.1)
    code = "import os, time; os.environ['RANK'] == '0' and exit(2); time.sleep(600)"
    assert run_together([sys.executable, "-c", code], 2, dict(os.environ)) == 2


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    require_gpus(2, "auto")
    with pytest.raises(UsageError, match="--gpus 8 on a machine where torch sees 4"):
        require_gpus(8, "auto")
    assert runs_at_once(["0", "1", "2", "3"], 2) == 2
    with pytest.raises(UsageError, match="--gpus 3 for each run, torch sees 2"):
        runs_at_once(["0", "1"], 3)
