"""Files are old or new and never in between, and a killed process leaves nothing behind for long."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.files import atomic
from bench.files.atomic import (
    cache_folder,
    content_digest,
    files_in,
    is_held,
    locked,
    new_folder,
    replacing,
    sweep,
    write_atomic,
)

WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from bench.files.atomic import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(3600)
"""


def left(folder: Path) -> list[str]:
    """Everything in a folder but the file itself."""
    return sorted(name for name in os.listdir(folder) if name != "file")


@pytest.fixture
def writer(tmp_path):
    """A process that has begun to write ``file`` and does not end."""
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path):
    file = tmp_path / "file"
    write_atomic(file, "old")

    def interrupted():
        with replacing(file) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == "old"
    assert left(tmp_path) == []


def test_what_a_killed_process_was_writing_is_gone_after_the_next_write(writer, tmp_path):
    file = tmp_path / "file"
    assert len(left(tmp_path)) == 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(left(tmp_path)) == 1 and not file.exists()
    write_atomic(file, "whole")
    assert file.read_text() == "whole"
    assert left(tmp_path) == []


def test_what_a_living_process_is_writing_stays(writer, tmp_path):
    write_atomic(tmp_path / "file", "whole")
    sweep(tmp_path)
    assert len(left(tmp_path)) == 1
    assert writer.poll() is None


@pytest.mark.parametrize("other", [".file.other.tmp.txt", "file.tmp", ".file2.abc", "fil[e]"])
def test_files_of_other_names_stay(tmp_path, other):
    (tmp_path / other).write_text("mine")
    write_atomic(tmp_path / "file", "whole")
    write_atomic(tmp_path / "fil[e]", "mine")
    assert (tmp_path / other).read_text() == "mine"


def test_a_lock_is_held_for_as_long_as_its_process_holds_it(tmp_path):
    lock = tmp_path / ".lock"
    assert not is_held(lock)
    with locked(lock):
        assert is_held(lock)
    assert not is_held(lock)


def test_two_who_write_one_file_both_write_it_whole(tmp_path):
    file = tmp_path / "file"
    with replacing(file) as one, replacing(file) as other:
        one.write_text("one")
        other.write_text("other")
    assert file.read_text() == "one"
    assert left(tmp_path) == []


def test_the_cache_is_where_the_home_folder_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BENCH_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"
    monkeypatch.setenv("BENCH_CACHE", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache/distill-bench"


LITTER = [
    ".DS_Store",
    "._a.png",
    ".ipynb_checkpoints/a-checkpoint.png",
    "__MACOSX/a.png",
    "b/__MACOSX/._a.png",
    "Thumbs.db",
    "b/desktop.ini",
    ".git/config",
]


@pytest.fixture
def folder(tmp_path):
    """A folder of three files, one of them below it."""
    place = tmp_path / "folder"
    (place / "b").mkdir(parents=True)
    for name in ("a.png", "b/c.png", "z.txt"):
        (place / name).write_text(name)
    return place


def names_in(place: Path) -> list[str]:
    return [file.relative_to(place).as_posix() for file in files_in(place)]


@pytest.mark.parametrize("name", LITTER)
def test_what_others_leave_in_a_folder_is_not_of_its_content(folder, name):
    digest = content_digest(folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("left")
    assert names_in(folder) == ["a.png", "b/c.png", "z.txt"]
    assert content_digest(folder) == digest


def test_every_other_file_counts_also_behind_links(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "d.png").write_text("d")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "e.png").symlink_to(elsewhere / "d.png")
    os.mkfifo(folder / "pipe")
    assert names_in(folder) == ["a.png", "b/c.png", "e.png", "linked/d.png", "z.txt"]


def test_folders_that_are_linked_into_themselves_end(folder):
    (folder / "b/up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "b")
    assert len(names_in(folder)) == 3


def test_a_link_that_leads_nowhere_is_refused(folder):
    (folder / "b/f.png").symlink_to(folder / "missing")
    with pytest.raises(UsageError, match=r"the link '.*b/f.png' leads nowhere; mend or remove it"):
        files_in(folder)


def test_a_file_alone_is_listed_whatever_its_name(tmp_path):
    (tmp_path / ".hidden.zip").write_text("x")
    assert files_in(tmp_path / ".hidden.zip") == [tmp_path / ".hidden.zip"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_in_which_folders_were_made_changes_nothing(tmp_path, order):
    place = tmp_path / "images"
    place.mkdir()
    for name in ["m", "a", "z"][::order]:
        if name == "m":
            (place / name).mkdir()
            (place / name / "0.png").write_text("0")
        else:
            (place / name).symlink_to(place / "m")
    assert names_in(place) == ["m/0.png"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_refused_and_nothing_behind_it_is_touched(tmp_path, kind):
    lock, precious = tmp_path / ".lock", tmp_path / "precious"
    precious.write_text("mine")
    if kind == "link":
        lock.symlink_to(precious)
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()

    def take():
        with locked(lock):
            pass

    with pytest.raises(UsageError, match=r"the lock '.*' cannot be taken .*; remove it"):
        take()
    assert not is_held(lock)
    assert precious.read_text() == "mine"


def test_a_lock_without_permission_is_not_to_be_removed(tmp_path, monkeypatch):
    def forbidden(path: Path, flags: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(atomic, "_open_lock", forbidden)
    with pytest.raises(
        UsageError, match=r"cannot be taken \(Permission denied\); see to its permissions"
    ):
        with locked(tmp_path / "lock"):
            pass


def test_a_pipe_in_place_of_a_temporary_file_hangs_nothing(tmp_path):
    os.mkfifo(tmp_path / ".file.a.tmp")
    (tmp_path / ".file.b.tmp").symlink_to(tmp_path / "precious")
    write_atomic(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"


def test_a_look_at_a_lock_does_not_stop_who_takes_it(tmp_path, monkeypatch):
    """The look ends while who takes the lock waits to try again."""
    lock, waits = tmp_path / ".lock", []
    lock.touch()
    with lock.open("rb") as look:
        fcntl.flock(look, fcntl.LOCK_SH)

        def end_the_look(seconds):
            waits.append(seconds)
            fcntl.flock(look, fcntl.LOCK_UN)

        monkeypatch.setattr("bench.files.atomic.time.sleep", end_the_look)
        with locked(lock, when_held=lambda holder: pytest.fail(f"held by {holder}")):
            assert is_held(lock)
    assert len(waits) == 1


def test_a_lock_whose_file_is_removed_while_another_waits_is_taken_anew(tmp_path):
    path, taken, leave = tmp_path / "folder" / ".lock", threading.Event(), threading.Event()

    def wait() -> None:
        with locked(path):
            taken.set()
            leave.wait()

    with locked(path):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.5)  # it has opened the file, or will open what is there then: both have to hold
        path.unlink()
        path.parent.rmdir()
    assert taken.wait(60)
    assert is_held(path)
    leave.set()
    waiting.join()
    assert not is_held(path)


def test_a_folder_comes_into_being_whole_or_not_at_all(tmp_path):
    place = tmp_path / "a" / "b"

    def write_half():
        with new_folder(place) as folder:
            (folder / "half").write_text("half")
            raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_half()
    assert not list(tmp_path.iterdir())
    with new_folder(place) as folder:
        (folder / "file").write_text("whole")
        assert not place.exists()
    assert [path.name for path in place.iterdir()] == ["file"]
    assert place.stat().st_mode & 0o777 == 0o755
    with pytest.raises(UsageError, match="is there already; give another"), new_folder(place):
        pass
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with new_folder(tmp_path / "link") as folder:
        (folder / "file").write_text("whole")
    assert (tmp_path / "empty" / "file").read_text() == "whole"
    assert sorted(os.listdir(tmp_path)) == ["a", "empty", "link"]


def test_a_lock_below_a_link_that_leads_nowhere_is_an_error_and_no_endless_wait(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), locked(tmp_path / "runs" / ".lock"):
        pass
