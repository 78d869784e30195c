"""Checkpoints and the files of a run: damage is known and passed over, and nothing that was kept is lost."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.api import carry_out
from bench.errors import BenchError, UsageError
from bench.files.tensors import load_sealed, load_tensors, save_sealed, save_tensors
from bench.runs import folder as folder_module
from bench.runs.events import Note
from bench.runs.folder import RunFolder
from bench.runs.recipe import make_request
from bench.runs.record import Record
from bench.training import checkpoint, loop
from bench.training import run as runner
from bench.training.checkpoint import Checkpoint
from bench.training.execution import Execution
from bench.training.job import make_job
from bench.training.repeat import repeat
from bench.training.trainer import Trainer
from bench.units import quantity

REQUEST = make_request(
    method="sid",
    teacher="edm-digits",
    budget="updates=40",
    eval_samples=100,
    eval_points=3,
    settings={"batch": 32},
    keep=3,
)


class Killed(BaseException):
    """Stands in for a death of the process that nobody hears."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of the run that nothing has interrupted."""
    results = tmp_path_factory.mktemp("straight")
    return RunFolder(results / carry_out(REQUEST, results).run_id)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A results folder in which the run was killed after its 30th update, with checkpoints kept."""
    results = tmp_path_factory.mktemp("begun")
    iteration = Trainer.iteration

    def until_30(trainer: Trainer) -> None:
        if trainer.ledger.updates == 30:
            raise Killed
        iteration(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "iteration", until_30)
        patch.setattr(checkpoint, "SECONDS", 0.0)
        patch.setattr(checkpoint, "SHARE", 1e9)
        with pytest.raises(Killed):
            runner.execute(make_job(REQUEST), results)
    return results


@pytest.fixture
def stopped(begun, tmp_path):
    """A copy of it: the folder of the run."""
    return RunFolder(next(shutil.copytree(begun, tmp_path / "results").iterdir()))


def continued(folder: RunFolder, **fields: object) -> list[str]:
    """Continue the run, and return its notes."""
    notes = []
    record = runner.execute(
        make_job(REQUEST.model_copy(update=fields)),
        folder.path.parent,
        lambda e: notes.append(e.text) if isinstance(e, Note) else 0,
    )
    assert record.status == "done"
    return notes


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    a, b = load_tensors(one.weights)[0], load_tensors(other.weights)[0]
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())


def test_the_last_checkpoints_are_kept(stopped):
    assert [f.name for f in stopped.states()] == [f"state-{n:012d}.safetensors" for n in (30, 29, 28)]


def flipped(data: bytes, bit: int) -> bytes:
    byte = bytearray(data)
    byte[bit // 8] ^= 1 << bit % 8
    return bytes(byte)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True))
def test_any_flipped_bit_of_a_state_is_known(begun, tmp_path, where):
    data = RunFolder(next(begun.iterdir())).states()[0].read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(flipped(data, int(where * 8 * len(data))))
    with pytest.raises(UsageError):
        load_sealed(damaged)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 0.03), cut=st.floats(0, 1, exclude_max=True))
def test_flips_in_the_header_and_cuts_are_known_too(begun, tmp_path, where, cut):
    data = RunFolder(next(begun.iterdir())).states()[0].read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for content in (flipped(data, int(where * 8 * len(data))), data[: int(cut * len(data))]):
        damaged.write_bytes(content)
        with pytest.raises(UsageError):
            load_sealed(damaged)


def an_edited_ledger(file: Path) -> None:
    tensors, meta = load_tensors(file)
    meta["ledger"]["images"] = -5
    save_tensors(file, tensors, meta)


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE = {
    "emptied": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "edited": an_edited_ledger,
    "a pipe": a_pipe,
    "a folder": a_folder,
    "not ours": lambda file: file.write_bytes(b"\0" * 1000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_of_a_damaged_newest_checkpoint_the_one_before_takes_the_place(stopped, straight, damage):
    damage(stopped.states()[0])
    notes = continued(stopped)
    assert any(note.startswith("passed over a checkpoint") for note in notes)
    assert "continuing after 928 images" in notes  # 29 updates of 32
    assert same_weights(stopped, straight)


def test_if_all_checkpoints_are_damaged_the_run_says_so_and_keeps_them(stopped):
    for file in stopped.states():
        file.write_bytes(b"")
    with pytest.raises(BenchError, match=r"all checkpoints in .* are damaged; --fresh starts over"):
        continued(stopped)
    assert len(stopped.states()) == 3


def test_what_a_state_holds_besides_tensors_comes_back_as_it_was(tmp_path):
    meta = {"list": [1, 2.5, None], "nested": {"b": {}, "a": "ä"}, "tuple": (1, (2,)), "large": 2**70}
    save_sealed(tmp_path / "x.safetensors", {"t": torch.arange(3)}, meta)
    tensors, found = load_sealed(tmp_path / "x.safetensors")
    assert torch.equal(tensors["t"], torch.arange(3))
    assert found == meta | {"tuple": [1, [2]]}


def test_a_full_disk_ends_the_run_with_the_earlier_checkpoint_intact(stopped, straight, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")

    monkeypatch.setattr(checkpoint, "save_sealed", full)
    before = [file.read_bytes() for file in stopped.states()]
    sentence = (
        "could not be written (No space left on device); the last good checkpoint is that after 30"
    )
    with pytest.raises(BenchError) as error:
        continued(stopped)
    assert sentence in str(error.value)
    assert sentence in stopped.read_record().error
    assert [file.read_bytes() for file in stopped.states()] == before
    monkeypatch.undo()
    continued(stopped)
    assert same_weights(stopped, straight)


LIMITED = """
import resource, signal, sys
from bench.runs.recipe import make_request
from bench.training import checkpoint
from bench.training.job import make_job
from bench.training.run import execute
from pathlib import Path

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoint.SECONDS = 0.0
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
request = make_request(
    method="sid", teacher="edm-digits", budget="updates=40", eval=[], settings={"batch": 32}
)
try:
    execute(make_job(request), Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("largest", [0, 100_000, 1_500_000])
def test_wherever_a_file_cannot_grow_the_run_ends_in_a_sentence(tmp_path, largest):
    """The operating system refuses every write beyond a size, as a full disk does."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(largest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("BenchError")
    assert "File too large" in done.stdout
    assert not list(tmp_path.rglob("*.tmp"))


def test_memory_that_is_too_small_names_the_option_that_helps(tmp_path, monkeypatch):
    def too_large(trainer: Trainer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "iteration", too_large)
    with pytest.raises(BenchError, match="does not hold 32 images at once; give --batch-gpu 16"):
        carry_out(REQUEST, tmp_path)
    monkeypatch.undo()
    assert carry_out(REQUEST, tmp_path).status == "done"


def test_any_flipped_bit_of_a_record_is_known(straight, tmp_path):
    text = (straight.path / "record.json").read_bytes()
    folder, whole = RunFolder(tmp_path), straight.read_record()
    for bit in range(0, 8 * len(text), 97):
        (tmp_path / "record.json").write_bytes(flipped(text, bit))
        try:
            found = folder.read_record()
        except BenchError as error:
            assert "is damaged" in str(error)  # noqa: PT017 - not every flip raises
        else:  # the name of the seal is hit, and nothing else
            assert found.model_dump(exclude=set(found.model_extra)) == whole.model_dump()


def test_a_record_that_a_person_has_edited_says_how_it_is_accepted(straight, tmp_path):
    text = (straight.path / "record.json").read_text()
    edited = text.replace('"method": "sid"', '"method": "mine"', 1)
    (tmp_path / "record.json").write_text(edited)
    with pytest.raises(BenchError, match="who changed it by hand removes its seal"):
        RunFolder(tmp_path).read_record()
    body, _, _ = edited.rpartition(',\n "seal"')
    (tmp_path / "record.json").write_text(body + "\n}\n")
    assert RunFolder(tmp_path).read_record().method == "mine"


def test_every_file_of_a_finished_run_is_known_by_its_sum(straight, tmp_path):
    folder = RunFolder(shutil.copytree(straight.path, tmp_path / straight.path.name))
    assert folder.changed_files() == []
    files = [f for f in folder.path.rglob("*") if f.is_file() and f.name not in ("SHA256SUMS", ".lock")]
    assert len(files) > 6
    for file in files:
        data = file.read_bytes()
        for content in (flipped(data, 4 * len(data)), data[:-1]):
            file.write_bytes(content)
            assert folder.changed_files() == [file.relative_to(folder.path).as_posix()]
        file.write_bytes(data)
    files[0].unlink()
    assert folder.changed_files() == [files[0].relative_to(folder.path).as_posix()]


def test_a_run_that_dies_before_its_sums_are_written_is_not_finished_and_the_same_command_finishes_it(
    tmp_path, monkeypatch
):
    write = folder_module.write_atomic

    def dies_of_sums(path: Path, content: bytes | str) -> None:
        if path.name == folder_module.SUMS:
            raise Killed
        write(path, content)

    monkeypatch.setattr(folder_module, "write_atomic", dies_of_sums)
    with pytest.raises(Killed):
        carry_out(REQUEST, tmp_path)
    folder = RunFolder(next(tmp_path.iterdir()))
    assert folder.read_record().status == "running"
    monkeypatch.undo()
    carry_out(REQUEST, tmp_path)
    assert folder.changed_files() == []


def damaged_best(folder: RunFolder) -> None:
    """Flip a bit in the weights of a best checkpoint, which the record says to be the best by far."""
    record = folder.read_record()
    record.evaluations[1].watched = -1.0
    folder.write_record(record)
    data = folder.states()[0].read_bytes()
    folder.best_weights.write_bytes(flipped(data, 8 * len(data) - 100))


def test_damaged_weights_of_the_best_checkpoint_are_not_measured(stopped, straight):
    damaged_best(stopped)
    with pytest.raises(
        BenchError, match=r"is damaged.*; remove the file and the last ones stand for the best"
    ):
        continued(stopped)
    stopped.best_weights.unlink()
    continued(stopped)
    assert same_weights(stopped, straight)
    assert stopped.read_record().best.selection.startswith("the last of")


def test_a_run_that_dies_while_it_is_cleared_is_not_taken_for_a_finished_one(
    straight, tmp_path, monkeypatch
):
    folder = RunFolder(shutil.copytree(straight.path, tmp_path / straight.path.name))

    def dies(path: Path, *_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", dies)
    with pytest.raises(Killed):
        carry_out(REQUEST, tmp_path, fresh=True)
    monkeypatch.undo()
    assert folder.states()
    with pytest.raises(
        BenchError, match=r"has checkpoints and no record .*; bring .* or start over with --fresh"
    ):
        carry_out(REQUEST, tmp_path)
    assert carry_out(REQUEST, tmp_path, fresh=True).status == "done"
    assert same_weights(folder, straight)


def test_the_beginning_is_that_of_the_first_updates_though_a_death_came_before_the_next_record(
    straight, tmp_path, monkeypatch
):
    """Between the state after the 25th update, the first that is saved, and the record."""

    def dies(record: Record, device: torch.device) -> None:
        if record.cost.updates:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "is_due", property(lambda self: self.trainer.ledger.updates == 25))
        patch.setattr(checkpoint, "note_peak_memory", dies)
        with pytest.raises(Killed):
            carry_out(REQUEST.model_copy(update={"eval_points": 1}), tmp_path)
    folder = RunFolder(next(tmp_path.iterdir()))
    assert "continuing after 800 images" in continued(folder, eval_points=1)
    assert folder.read_record().beginning == straight.read_record().beginning


def test_equal_runs_have_weights_of_equal_digest_though_not_equal_files(straight, tmp_path):
    again = carry_out(REQUEST, tmp_path)
    first = straight.read_record()
    assert again.checkpoint.tensors_sha256 == first.checkpoint.tensors_sha256
    assert again.beginning == first.beginning
    assert first.beginning.updates == loop.FIRST_UPDATES


def test_verify_repeats_the_beginning_of_a_run(bench, straight, tmp_path):
    results = tmp_path / "results"
    folder = RunFolder(shutil.copytree(straight.path, results / straight.path.name))
    out = bench.ok("verify", straight.path.name, "--results", str(results)).out
    assert "every file is as the run left it" in out
    assert "its first 20 updates give the same weights here, to the bit" in out
    record = folder.read_record()
    record.beginning.tensors_sha256 = "0" * 64
    folder.write_record(record)
    code, out, _ = bench("verify", straight.path.name, "--results", str(results))
    assert code == 1
    assert "other content than the run left: record.json" in out
    assert "its first 20 updates give other weights here" in out


@pytest.mark.parametrize(
    "how", [{"compile": "trained", "channels_last": "all"}, {"recompute": True, "batch_gpu": 4}]
)
def test_verify_computes_as_the_run_did(tmp_path, monkeypatch, how):
    """Other kernels round otherwise; which networks are prepared for them is all that is looked at here."""
    prepared = []
    monkeypatch.setattr(Execution, "prepare", lambda self, *_, **__: prepared.append(self))
    record = carry_out(REQUEST.model_copy(update={"eval": [], **how}), tmp_path)
    assert repeat(record.run_id, tmp_path).equal
    first, *_, last = prepared
    assert first == last != Execution()


def test_milestones_are_measured_again_by_another_protocol(bench, tmp_path):
    record = carry_out(REQUEST.model_copy(update={"milestones": True}), tmp_path)
    images = [e.images for e in record.evaluations]
    folder = RunFolder(tmp_path / record.run_id)
    assert folder.milestones() == [folder.milestone(n) for n in images]
    asked = ["eval", record.run_id, "--all-checkpoints", "--metrics", "fid", "--eval-samples", "200"]
    out = bench.ok(*asked, "--results", str(tmp_path), "--format", "json").out
    measured = json.loads(out)
    assert [content["images"] for content in measured] == images
    assert [Path(content["source"]).stem for content in measured] == [
        f"generator-{n:012d}" for n in images
    ]
    assert measured[0]["metrics"]["fid"]["value"] != measured[-1]["metrics"]["fid"]["value"]
    assert load_tensors(folder.milestones()[-1])[0].keys() == load_tensors(folder.weights)[0].keys()
    _, table, _ = bench(*asked, "--results", str(tmp_path))  # one, with a line for each
    assert [line.split()[0] for line in table.splitlines()[2:]] == [quantity(n) for n in images]
    assert "FID" in table.splitlines()[0]
    last, final = load_tensors(folder.milestones()[-1])[0], load_tensors(folder.weights)[0]
    assert all(torch.equal(last[name], final[name]) for name in final)


def test_a_finished_run_says_that_it_is_too_late_for_milestones(straight):
    said = []
    late = REQUEST.model_copy(update={"milestones": True})
    carry_out(late, straight.path.parent, observe=said.append)
    assert [note.text for note in said if isinstance(note, Note)] == [
        f"the run {straight.path.name} is finished, too late for --milestones; --fresh carries it out again"
    ]


def test_a_run_without_milestones_says_how_to_have_them(bench, straight):
    results = str(straight.path.parent)
    code, _, err = bench("eval", straight.path.name, "--all-checkpoints", "--results", results)
    assert code == 2
    assert "kept no weights along the way; make it with --milestones" in err
    code, _, err = bench("eval", straight.path.name, "--all-checkpoints", "--cross-check")
    assert code == 2
    assert "--cross-check and --all-checkpoints do not go together" in err
    for other in (straight.weights, "teacher:edm-digits"):
        code, _, err = bench("eval", other, "--all-checkpoints", "--results", results)
        assert code == 2
        assert "--all-checkpoints is for a run" in err


def test_of_a_short_run_the_whole_is_repeated_and_of_one_that_only_samples_its_files_are_compared(
    bench, tmp_path
):
    short = carry_out(
        REQUEST.model_copy(update={"budget": "updates=3", "eval": [], "eval_samples": None}), tmp_path
    )
    out = bench.ok("verify", short.run_id, "--results", str(tmp_path)).out
    assert "its first 3 updates give the same weights" in out
    teacher = carry_out(
        make_request(method="teacher", teacher="edm-digits", eval=["is"], eval_samples=100), tmp_path
    )
    out = bench.ok("verify", teacher.run_id, "--results", str(tmp_path)).out
    assert "every file is as the run left it" in out
    assert "knows no weights of a beginning" in out
    (tmp_path / teacher.run_id / "SHA256SUMS").unlink()
    code, out, _ = bench("verify", teacher.run_id, "--results", str(tmp_path))
    assert code == 1
    assert "has no SHA256SUMS, which is lost" in out


def test_a_damaged_generator_is_neither_measured_nor_sampled(bench, straight, tmp_path):
    folder = RunFolder(shutil.copytree(straight.path, tmp_path / straight.path.name))
    data = folder.weights.read_bytes()
    folder.weights.write_bytes(flipped(data, 8 * (len(data) - 5)))
    for command in (["eval", "--metrics", "is", "--eval-samples", "100"], ["sample", "-n", "2"]):
        code, _, err = bench(*command, straight.path.name, "--results", str(tmp_path))
        assert code == 2
        assert "is damaged: its content is not that of its digest" in err


@pytest.mark.parametrize("given", ["0", "-3", "abc", "1.5"])
def test_a_number_of_images_at_once_is_refused_in_the_words_of_its_flag(bench, given):
    code, _, err = bench(
        "run", "--method", "sid", "--teacher", "edm-digits", f"--batch-gpu={given}", "--dry-run"
    )
    assert code == 2
    assert "batch_gpu: expected a number of images above 0, or auto, given" in err


def test_graphs_without_a_gpu_are_refused_before_anything_is_done(bench, tmp_path):
    asked = ["run", "--method", "sid", "--teacher", "edm-digits", "--capture", "--device", "cpu"]
    for more in ([], ["--dry-run"]):
        code, _, err = bench(*asked, "--results", str(tmp_path / "r"), *more)
        assert code == 2
        assert "--capture records CUDA graphs, the device is a CPU; leave it out" in err
    assert not (tmp_path / "r").exists()


def test_a_record_says_whether_the_same_bits_come_again(straight):
    assert straight.read_record().environment.deterministic is True  # on a CPU


def test_verify_begins_from_the_seed_as_the_run_does(tmp_path):
    """Also for a method whose networks are partly made of random numbers."""
    record = carry_out(
        make_request(
            method="f-distill",
            teacher="edm-digits",
            budget="updates=21",
            eval=[],
            settings={"batch": 32},
            batch_gpu=16,
        ),
        tmp_path,
    )
    torch.manual_seed(12345)
    found = repeat(record.run_id, tmp_path, "cpu")
    assert found.equal
    assert found.changed_files == []


def test_a_damaged_checkpoint_is_not_one_of_those_kept(stopped, straight):
    damaged = stopped.states()[0]
    damaged.write_bytes(b"")
    continued(stopped)
    assert damaged.with_suffix(".damaged").exists()
    assert len(stopped.states()) == 3
    assert same_weights(stopped, straight)


def test_verify_says_what_it_cannot_repeat(bench, straight, tmp_path):
    folder = RunFolder(shutil.copytree(straight.path, tmp_path / straight.path.name))
    record = folder.read_record()
    record.recipe.method_digest = "0" * 64
    folder.write_record(record)
    code, _, err = bench("verify", straight.path.name, "--results", str(tmp_path))
    assert code == 2
    assert "was made with other code or files (method_digest)" in err
