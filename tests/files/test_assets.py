"""Downloads against a server on this machine that behaves well or badly: what is kept, what is
refused, and what is said.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError, UsageError
from bench.files import download
from bench.files.assets import Asset, fetch
from tests.helpers.file_server import CONTENT, MD5, OTHER, SHA256, serving
from tests.helpers.waiting import wait_until

LICENCE = "CC0 1.0"
SILENCE = 3.0
"""Seconds without a byte until a download is given up, where a test waits for that; no answer of
the server takes as long.
"""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("BENCH_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0)
    with serving() as server:
        yield server


def asset_of(server=None, **changes):
    """An asset of the server, with nothing pinned unless asked."""
    url = server.url if server else "http://127.0.0.1:9/weights.pkl"
    facts = {
        "id": "tiny",
        "file": "weights.pkl",
        "url": url,
        "licence": LICENCE,
        "source": "https://example.org/terms",
    }
    return Asset(**facts | changes)


def place(asset, content=CONTENT):
    asset.path.parent.mkdir(parents=True, exist_ok=True)
    asset.path.write_bytes(content)


def beside(asset):
    """What the asset's folder holds, but for the lock."""
    return sorted(p.name for p in asset.path.parent.glob("*") if p.name != ".lock")


def fetch_fails(asset, kind=BenchError):
    """The one sentence that fetching it ends in: what, from where, and where to put it by hand."""
    with pytest.raises(BenchError) as error:
        fetch(asset)
    sentence = str(error.value)
    assert type(error.value) is kind
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert asset.file in sentence
    assert (asset.url or asset.source) in sentence
    assert f"put it at {asset.path}" in sentence
    return sentence


def assert_fetched(asset, server, statuses):
    """It comes whole, by answers of these statuses."""
    assert fetch(asset).read_bytes() == CONTENT
    assert server.statuses() == statuses


def test_a_download_is_put_in_its_place_and_its_digest_recorded(server, capsys):
    asset = asset_of(server)
    assert fetch(asset) == asset.path
    assert asset.path.read_bytes() == CONTENT
    assert asset.record.read_text() == f"{SHA256}  weights.pkl\n"
    assert beside(asset) == ["weights.pkl", "weights.pkl.sha256"]
    assert asset.path.stat().st_mode & 0o444 == 0o444 & ~os.umask(os.umask(0o022))
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        said.err
        == f"downloading weights.pkl from {asset.url}; licence: {LICENCE}; source: https://example.org/terms\n"
    )


def test_what_is_there_is_verified_without_network_or_a_word_and_a_pinned_file_without_writing(
    server, capsys
):
    asset = asset_of(server, sha256=SHA256.upper())
    fetch(asset)
    assert beside(asset) == ["weights.pkl"]
    asset.path.with_name(".lock").unlink()
    capsys.readouterr()
    fetch(asset)
    assert not asset.path.with_name(".lock").exists()
    assert capsys.readouterr().err == ""
    assert server.statuses() == [200]


@pytest.mark.parametrize(
    "wrong", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"sha256": SHA256, "md5": "0" * 32}], ids=str
)
def test_a_wrong_checksum_leaves_nothing_behind(server, wrong):
    asset = asset_of(server, **wrong)
    sentence = fetch_fails(asset)
    assert (MD5 if "md5" in wrong else SHA256) in sentence
    assert next(iter(set(wrong.values()) - {SHA256})) in sentence
    assert beside(asset) == []


def test_the_right_checksums_are_accepted(server):
    assert fetch(asset_of(server, sha256=SHA256, md5=MD5.upper())).read_bytes() == CONTENT


def test_the_digest_of_the_first_use_is_enforced_ever_after(server):
    asset = asset_of(server)
    fetch(asset).unlink()
    server.content = OTHER
    sentence = fetch_fails(asset)
    assert hashlib.sha256(OTHER).hexdigest() in sentence
    assert (
        f"{SHA256}, as {asset.record} recorded at first use: remove that if the change is meant"
        in sentence
    )
    assert beside(asset) == ["weights.pkl.sha256"]
    asset.record.unlink()
    assert fetch(asset).read_bytes() == OTHER


@pytest.mark.parametrize("pinned", [None, SHA256])
def test_a_damaged_file_is_downloaded_again(server, capsys, pinned):
    asset = asset_of(server, sha256=pinned)
    fetch(asset).write_bytes(CONTENT[:-1])
    capsys.readouterr()
    assert fetch(asset).read_bytes() == CONTENT
    assert "is not the right one" in capsys.readouterr().err


def test_a_damaged_file_is_refused_offline_and_left_alone(server, monkeypatch):
    asset = asset_of(server)
    fetch(asset).write_bytes(OTHER)
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    sentence = fetch_fails(asset, UsageError)
    assert SHA256 in sentence
    assert hashlib.sha256(OTHER).hexdigest() in sentence
    assert asset.path.read_bytes() == OTHER


def test_a_damaged_record_is_named(server):
    asset = asset_of(server)
    fetch(asset)
    asset.record.write_text("")
    with pytest.raises(BenchError, match=r"the recorded digest .* is damaged; remove it"):
        fetch(asset)


@pytest.mark.parametrize(
    "headers",
    [{"ETag": '"one"'}, {"ETag": 'W/"weak"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}],
)
def test_a_cut_connection_is_taken_up_where_it_broke(server, headers, capsys):
    server.headers, server.cuts = headers, [400_000, 300_000]
    assert_fetched(asset_of(server, sha256=SHA256), server, [200, 206, 206])
    starts = [int(wanted[6:-1]) for wanted, _ in server.asked[1:]]
    assert 400_000 - 65_536 <= starts[0] <= 400_000
    assert starts[0] + 300_000 - 65_536 <= starts[1] <= 700_000
    assert capsys.readouterr().err.count(LICENCE) == 1


RESTARTS = {
    "no validator": ({"headers": {}}, [200, 200]),
    "only a weak validator": ({"headers": {"ETag": 'W/"weak"'}}, [200, 200]),
    "ranges ignored": ({"ranges": False}, [200, 200]),
    "another place sent": ({"shift": 7}, [200, 206, 200]),
}


@pytest.mark.parametrize(("behaviour", "statuses"), RESTARTS.values(), ids=RESTARTS)
def test_what_cannot_be_continued_starts_again(server, behaviour, statuses):
    vars(server).update(behaviour)
    server.cuts = [400_000]
    assert_fetched(asset_of(server, sha256=SHA256), server, statuses)
    assert server.asked[-1][0] is None or not server.ranges


@pytest.mark.parametrize("ranges", [True, False])
def test_progress_counts_the_bytes_of_the_file_and_not_those_sent(server, tmp_path, ranges):
    server.ranges, server.cuts, seen = ranges, [400_000], []
    download.download(server.url, tmp_path / "part", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1_000_000, 1_000_000)
    assert (seen == sorted(seen)) == ranges


@pytest.mark.parametrize(("if_range", "statuses"), [(True, [200]), (False, [206, 200])])
def test_a_file_that_changed_in_between_is_never_mixed(server, monkeypatch, if_range, statuses):
    """With If-Range the server sends the new file whole; one that ignores it is seen through by its
    entity tag.
    """
    asset = asset_of(server)
    server.cuts = [400_000]
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    fetch_fails(asset)
    server.content, server.headers, server.if_range, server.asked = (
        OTHER,
        {"ETag": '"two"'},
        if_range,
        [],
    )
    assert fetch(asset).read_bytes() == OTHER
    assert server.statuses() == statuses


def test_bytes_without_a_validator_do_not_inherit_that_of_older_ones(server, monkeypatch):
    """A mirror in between has another state of the file and no entity tags."""
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    asset = asset_of(server)
    for server.content, server.headers in ((CONTENT, {"ETag": '"one"'}), (OTHER, {})):
        server.cuts = [400_000]
        fetch_fails(asset)
    server.content, server.headers = CONTENT, {"ETag": '"one"'}
    assert fetch(asset).read_bytes() == CONTENT


def test_bytes_of_another_address_are_not_continued(server, monkeypatch):
    server.cuts = [400_000]
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    fetch_fails(asset_of(server))
    server.asked = []
    fetch(asset_of(server, url=server.url + "?mirror", sha256=SHA256))
    assert server.asked == [(None, 200)]


def test_a_server_that_sends_only_a_part_of_what_is_asked_is_asked_again(server):
    server.cuts, server.at_most = [400_000], 350_000
    assert_fetched(asset_of(server, sha256=SHA256), server, [200, 206, 206])


def test_a_download_that_was_stopped_when_all_had_come_asks_for_nothing_more(server):
    asset = asset_of(server, sha256=SHA256)
    place(asset)
    part = asset.path.rename(asset.path.with_name("weights.pkl.part"))
    part.with_name("weights.pkl.part.from").write_text(f'{server.url}\n"one"\n')
    assert_fetched(asset, server, [416])


def test_a_compressed_file_is_kept_as_published(server):
    """A server may label a .gz file as an encoding, which an HTTP library would undo."""
    server.headers |= {"Content-Encoding": "gzip"}
    assert fetch(asset_of(server, sha256=SHA256)).read_bytes() == CONTENT


def test_a_connection_that_breaks_again_and_again_is_left_to_the_next_call(server, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 3)
    server.cuts = [200_000] * 3
    asset = asset_of(server)
    kept = int(fetch_fails(asset).split("kB are kept to continue from")[0].split()[-1])
    assert 600 - 3 * 66 <= kept <= 600
    assert beside(asset) == ["weights.pkl.part", "weights.pkl.part.from"]
    fetch(asset)
    assert asset.path.read_bytes() == CONTENT
    assert server.statuses() == [200, 206, 206, 206]
    assert beside(asset) == ["weights.pkl", "weights.pkl.sha256"]


def test_a_connection_that_brings_nothing_is_not_tried_again(server):
    server.cuts = [0] * 9
    assert "IncompleteRead" in fetch_fails(asset_of(server))
    assert server.statuses() == [200]


def test_a_server_that_falls_silent_is_given_up_and_asked_again(server, monkeypatch):
    monkeypatch.setattr(download, "READ_TIMEOUT", SILENCE)
    server.stalls = [400_000]
    assert_fetched(asset_of(server, sha256=SHA256), server, [200, 206])


def test_a_server_that_stays_silent_is_an_error(server, monkeypatch):
    monkeypatch.setattr(download, "READ_TIMEOUT", SILENCE)
    server.stalls = [0] * 9
    assert "timed out" in fetch_fails(asset_of(server))
    assert len(server.stalls) == 8  # a silence that brought nothing is not waited for again


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (503, "503"), (202, "202")]
)
def test_an_answer_without_the_file_is_an_error(server, status, words):
    server.status = status
    asset = asset_of(server)
    assert f"the server answers {words}" in fetch_fails(asset)
    assert beside(asset) == []


def test_no_connection_is_an_error(server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        asset = asset_of(url=f"http://127.0.0.1:{unused.getsockname()[1]}/weights.pkl")
        assert "(Connection refused)" in fetch_fails(asset)
    assert beside(asset) == []


def test_an_unknown_host_is_an_error(server, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "(Name or service not known)" in fetch_fails(
        asset_of(url="http://nowhere.invalid/weights.pkl")
    )


def test_an_address_that_is_none_is_an_error(server):
    assert "Invalid URL" in fetch_fails(asset_of(url="weights.pkl"))


def test_offline_is_said_at_once_and_nothing_is_written(tmp_path):
    asset = asset_of(note="ask for an account first")
    sentence = fetch_fails(asset, UsageError)
    assert "BENCH_OFFLINE=1 forbids" in sentence
    assert "(ask for an account first)" in sentence
    assert list(tmp_path.rglob("*")) == []


def test_a_file_without_an_address_can_only_be_placed_by_hand(server):
    asset = asset_of(url="")
    assert "cannot be downloaded by this suite" in fetch_fails(asset, UsageError)
    place(asset)
    assert fetch(asset).read_bytes() == CONTENT
    assert asset.digest() == SHA256


@pytest.mark.parametrize("known", [{}, {"md5": MD5}, {"sha256": SHA256}], ids=str)
def test_a_file_placed_by_hand_is_as_good_as_a_download(known):
    asset = asset_of(**known)
    place(asset)
    assert fetch(asset) == asset.path
    assert asset.digest() == SHA256
    assert asset.record.exists() == ("sha256" not in known)


@pytest.mark.parametrize("known", [{"md5": MD5}, {"sha256": SHA256}], ids=str)
def test_a_wrong_file_placed_by_hand_is_refused_or_replaced(server, monkeypatch, known):
    asset = asset_of(server, **known)
    place(asset, OTHER)
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    assert next(iter(known.values())) in fetch_fails(asset, UsageError)
    assert not asset.record.exists()
    assert asset.path.read_bytes() == OTHER
    monkeypatch.delenv("BENCH_OFFLINE")
    assert fetch(asset).read_bytes() == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said_and_the_next_call_is_well(server):
    asset = asset_of(server)
    asset.path.parent.mkdir(parents=True)
    part = asset.path.with_name("weights.pkl.part")
    part.symlink_to("/dev/full")
    sentence = fetch_fails(asset)
    assert "No space left on device" in sentence
    assert "BENCH_CACHE" in sentence
    assert not asset.path.exists()
    assert not asset.record.exists()
    part.unlink()
    assert fetch(asset).read_bytes() == CONTENT


def test_a_cache_that_is_a_file_is_said(server, tmp_path):
    (tmp_path / "cache").write_text("")
    assert "Not a directory" in fetch_fails(asset_of(server))


FETCH = "import sys; from bench.files.assets import Asset, fetch; fetch(Asset(**__import__('json').loads(sys.argv[1])))"


def start(asset):
    facts = {name: value for name, value in vars(asset).items() if value}
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, json.dumps(facts)], stderr=subprocess.PIPE, text=True
    )


def test_two_processes_at_once_download_once(server):
    asset = asset_of(server)
    server.stalls = [400_000]
    processes = [start(asset), start(asset)]
    first = [
        process.stderr.readline() for process in processes
    ]  # both have spoken: one downloads, the other waits
    server.released.set()
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(line.split()[0] for line in first) == ["downloading", "waiting"]
    assert [process.stderr.read() for process in processes] == ["", ""]
    assert server.asked == [(None, 200)]
    assert asset.path.read_bytes() == CONTENT


def test_a_killed_download_frees_the_lock_and_is_continued(server):
    asset = asset_of(server, sha256=SHA256)
    server.stalls = [400_000]
    part = asset.path.with_name("weights.pkl.part")
    process = start(asset)
    wait_until(
        lambda: part.exists() and part.stat().st_size > 300_000, "most of the file has come", process
    )
    process.kill()
    process.communicate()
    assert_fetched(asset, server, [200, 206])


def test_a_terminal_shows_bytes_and_rate(server, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    monkeypatch.setenv("TERM", "xterm")
    fetch(asset_of(server))
    bar = capsys.readouterr().err
    assert "1.0/1.0 MB" in bar
    assert "B/s" in bar


PLUGIN = """
from bench.plugin import Asset, FeatureExtractor, register_extractor


class Files(FeatureExtractor):
    image_spec, features = None, ("pool",)

    def __call__(self, images):
        return {{}}

    def digest(self):
        return ""


def facts(name, **more):
    return Asset(id=name, file="weights.pkl", url="{url}/" + name, licence="CC0 1.0", source="https://example.org", **more)


@register_extractor("both")
class Both(Files):
    assets = (facts("pinned", sha256="{sha256}"), facts("first"))


@register_extractor("bad")
class Bad(Files):
    assets = (facts("bad", sha256="{other}"),)


@register_extractor("none")
class Nothing(Files):
    pass
"""


@pytest.fixture
def cli(bench, server, tmp_path):
    """``bench fetch`` with a plugin whose files the server has."""
    plugin = tmp_path / "files.py"
    plugin.write_text(PLUGIN.format(url=server.url, sha256=SHA256, other="0" * 64))
    return lambda *arguments: bench("fetch", "--plugin", str(plugin), *arguments)


def test_bench_fetch_prints_a_line_for_each_file(cli, server, tmp_path, monkeypatch):
    code, out, err = cli("extractor:both")
    folder = tmp_path / "cache" / "assets"
    assert code == 0
    assert out.splitlines() == [
        f"{folder}/pinned/weights.pkl  1,000,000 bytes  sha256 {SHA256} (pinned)",
        f"{folder}/first/weights.pkl  1,000,000 bytes  sha256 {SHA256} (recorded)",
    ]
    assert len(err.splitlines()) == 2
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    assert cli("extractor:both") == (0, out, "")
    assert server.statuses() == [200, 200]


def test_bench_fetch_json(cli, tmp_path):
    code, out, _ = cli("extractor:both", "--format", "json")
    assert code == 0
    rows = json.loads(out)
    assert [row["digest"] for row in rows] == ["pinned", "recorded"]
    assert rows[1] == {
        "name": "extractor:both",
        "file": "weights.pkl",
        "path": str(tmp_path / "cache" / "assets" / "first" / "weights.pkl"),
        "bytes": 1_000_000,
        "sha256": SHA256,
        "digest": "recorded",
        "licence": LICENCE,
        "source": "https://example.org",
    }


def test_a_failing_file_does_not_stop_the_others(cli):
    code, out, err = cli("extractor:bad", "extractor:both", "--format", "json")
    assert code == 1
    assert len(json.loads(out)) == 2
    assert [line for line in err.splitlines() if line.startswith("error: ") and "0" * 64 in line]


def test_what_needs_no_files_needs_no_download(cli):
    assert cli("extractor:none") == (0, "", "extractor:none needs no download\n")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "gaussian",
            "'gaussian' is not of the form KIND:NAME; say teacher:gaussian or dataset:gaussian.",
        ),
        ("xyz", "'xyz' is not of the form KIND:NAME; say for example teacher:edm-cifar10."),
        ("teachers:gaussian", "unknown kind 'teachers'; did you mean 'teacher'?"),
        ("teacher:gausian", "unknown teacher 'gausian'; did you mean 'gaussian'?"),
    ],
)
def test_a_mistyped_name_is_found_before_any_download(cli, server, name, sentence):
    code, out, err = cli("extractor:both", name)
    assert (code, out, err) == (2, "", f"error: {sentence}\n")
    assert server.asked == []
