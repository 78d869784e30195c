"""What a shell is answered when somebody presses the tabulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import bench as suite
from bench import registry
from bench.cli import COMMANDS, load_command
from bench.cli.completion import COMPLETERS
from bench.runs.store import results_folder
from tests.helpers.plugins import METHOD, plugin


@pytest.fixture
def completed(bench, monkeypatch):
    """The answers to bash for these words, of which the last is being typed."""

    def ask(*words):
        monkeypatch.setenv("_BENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["bench", *map(str, words)]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        return bench()[1].split()

    return ask


def test_commands_and_options(completed):
    assert completed("ex") == ["export"]
    assert set(COMMANDS) <= set(completed(""))
    assert completed("run", "--eval-sa") == ["--eval-samples"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("run", "--method", ""), "method"),
        (("run", "--method", "sid", "--teacher", ""), "teacher"),
        (("run", "--eval", ""), "metric"),
        (("eval", "some-run", "--metrics", ""), "metric"),
        (("eval", "some-run", "--protocol", ""), "protocol"),
        (("run", "--data", ""), "dataset"),
        (("show", "released", ""), "released"),
        (("show", "extractor", ""), "extractor"),
        (("check", "dataset", ""), "dataset"),
        (("doctor", "--teacher", ""), "teacher"),
    ],
)
def test_the_names_of_a_kind(completed, words, kind):
    assert completed(*words) == list(registry.REGISTRIES[kind].entries())


def test_the_words_of_an_option_are_those_that_it_takes(completed):
    assert completed("run", "--on-divergence", "") == ["stop", "skip", "rollback"]
    assert completed("run", "--track", "") == ["tensorboard", "wandb"]
    assert completed("compare", "--compile", "") == ["frozen", "trained", "all"]
    assert completed("run", "--channels-last", "t") == ["trained"]
    assert completed("compare", "--launcher", "") == ["local", "slurm"]
    assert completed("sweep", "--by", "") == ["random", "grid", "optuna", "halving"]
    assert completed("export", "some-run", "--to", "") == ["safetensors", "hf", "onnx"]


def test_files_to_fetch_have_their_kind_before_their_name(completed):
    assert completed("fetch", "teacher", ":", "edm-im") == ["edm-imagenet64"]


def test_lists_go_on_after_a_comma_and_name_nothing_twice(completed):
    assert completed("run", "--eval", "fid,is,f") == [
        "fid,is,fd-dinov2",
        "fid,is,fid-infinity",
        "fid,is,fid-test",
    ]
    assert completed("compare", "--methods", "dmd,sid,sid") == ["dmd,sid,sid2a", "dmd,sid,sida"]


def test_what_bash_takes_apart_at_a_colon_and_an_equals_sign(completed):
    """It replaces what follows the last of them alone."""
    assert completed("sample", "teacher", ":", "edm-dig") == ["edm-digits"]
    assert "edm-digits" in completed("sample", "teacher", ":")
    assert completed("run", "--method", "=", "sid2") == ["sid2a"]
    assert completed("eval", "teacher", ":", "gaussian", "--metrics", "laten") == ["latency"]


def test_other_shells_have_the_line_of_help_beside_a_name(bench, monkeypatch):
    monkeypatch.setenv("_BENCH_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "bench eval teacher:edm-dig")
    assert "teacher:edm-digits" in bench()[1]
    assert "8x8 grey digits" in bench()[1]


def test_runs_are_those_of_the_results_folder(completed, tmp_path):
    record = suite.run("teacher", "edm-digits", settings={"steps": 2}, eval=[])
    (results_folder() / "teacher-no-run").mkdir()
    for command in (("eval",), ("export",), ("rm",), ("show", "run")):
        assert completed(*command, "teacher-") == [record.run_id]
    assert completed("sample", "--results", tmp_path / "none", "teacher-") == []


def test_no_plugin_is_run_and_nothing_is_said_of_a_bad_line(completed, bench, tmp_path):
    mine = plugin(tmp_path, METHOD.format(name="mine"))
    assert completed("table", "--plugin", mine, "--method", "min") == []
    assert "mine" not in registry.methods.entries()
    assert completed("run", "--results", "~nosuchuser/x", "--method", "sid2") == ["sid2a"]
    assert bench()[2] == ""


def test_every_command_answers_without_torch():
    code = f"""
import os, sys
os.environ.update(_BENCH_COMPLETE="complete_bash", COMP_CWORD="2")
from bench.cli import main
for name in {list(COMMANDS)}:
    os.environ.update(COMP_WORDS=f"bench\\n{{name}}\\n--", COMP_CWORD="2")
    try:
        main()
    except SystemExit:
        pass
    assert "torch" not in sys.modules, name
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.splitlines().count("--help") == len(COMMANDS)


def test_every_flag_that_shows_its_words_completes_them(completed):
    """Such as ``--on-divergence stop|skip|rollback``."""
    for name in COMMANDS:
        for option in load_command(name).params:
            shown = str(option.metavar or "")
            if re.fullmatch(r"[a-z]+(\|[a-z]+)+", shown):
                assert completed(name, option.opts[0], "") == shown.split("|"), (name, option.name)


def test_what_is_completed_is_a_parameter_of_a_command():
    own = {f"{name}.{parameter.name}" for name in COMMANDS for parameter in load_command(name).params}
    assert set(COMPLETERS) <= own | {parameter.partition(".")[2] for parameter in own}


def test_the_script_that_a_shell_is_given_calls_bench():
    code = "from bench.cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", code, "--show-completion", "bash"],
        env=os.environ
        | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},  # which has several parents here
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "_BENCH_COMPLETE=complete_bash" in said
    assert said.strip().endswith("bench")
