"""The command line as people meet it: what it prints, and one sentence with an exit code for every
kind of bad input.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from PIL import Image

import bench as suite
import bench.cli as bench_cli
from bench import environment, registry
from bench.cli import load_command
from bench.cli.options import EvaluationFlags, RunFlags
from bench.errors import UsageError
from bench.files.documents import parse_yaml
from bench.files.tensors import load_tensors, save_tensors
from bench.runs.budget import Budget
from bench.runs.options import EvaluationOptions, RunOptions
from bench.runs.recipe import make_request
from bench.training import estimate
from bench.training.job import make_job
from tests.helpers.plugins import METHOD, SETTINGS, plugin, set_flags

RUN = ["run", "--method", "sid", "--teacher", "edm-digits"]
QUICK = [
    "--budget",
    "updates=3",
    "--set",
    "batch=16",
    "--eval-samples",
    "60",
    "--eval-repeats",
    "2",
    "--eval-points",
    "2",
]

BAD = [
    (
        ["run", "--method", "sidd", "--teacher", "edm-digits"],
        "unknown method 'sidd'; did you mean 'sid'?",
    ),
    (
        ["run", "--method", "sid", "--teacher", "edm-digit"],
        "unknown teacher 'edm-digit'; did you mean 'edm-digits'?",
    ),
    (["run", "--teacher", "edm-digits"], "--method is missing"),
    ([*RUN, "--eval", "fidd"], "unknown metric 'fidd'; did you mean 'fid'?"),
    ([*RUN, "--protocol", "digits-50k"], "unknown protocol 'digits-50k'; did you mean 'digits-5k'?"),
    ([*RUN, "--set", "alfa=1"], "unknown setting of method 'sid': 'alfa'; did you mean 'alpha'?"),
    ([*RUN, "--set", "tmax=1.5"], "tmax: input should be less than or equal to 1, given 1.5"),
    ([*RUN, "--set", "alpha=much"], "alpha: input should be a valid number"),
    ([*RUN, "--set", "batch=1.5"], "batch: input should be a valid integer"),
    ([*RUN, "--set", "lr=nan"], "lr: input should be a finite number, given 'nan'"),
    ([*RUN, "--set", "alpha"], "is not of the form NAME=VALUE"),
    ([*RUN, "--budget", "image=1k"], "unknown budget axis 'image'; did you mean 'images'?"),
    ([*RUN, "--budget", "images=0"], "expected a number above zero"),
    ([*RUN, "--budget", "200k"], "is not of the form AXIS=AMOUNT"),
    ([*RUN, "--seed", "-1"], "seed: input should be greater than or equal to 0, given -1"),
    ([*RUN, "--eval-samples", "1"], "eval_samples: input should be greater than or equal to 2, given 1"),
    (
        [*RUN, "--eval-samples", "9" * 400],
        "less than or equal to 1000000000, given a number of more than",
    ),
    ([*RUN, "--plugin", "none.py"], "none.py' does not exist; give --plugin"),
    ([*RUN, "--plugin", "{broken}"], "does not import: ZeroDivisionError"),
    ([*RUN, "--plugin", "{taken}"], "already provides that name"),
    ([*RUN, "--teacher-path", "{text}"], "is neither a state dict of torch"),
    ([*RUN, "--teacher-path", "none.safetensors"], "check the path"),
    (
        ["run", "--method", "sid", "--teacher", "gaussian", "--teacher-path", "{text}"],
        "reads no weights",
    ),
    ([*RUN, "--results", "{text}/runs"], "cannot write to the results folder"),
    ([*RUN, "--device", "tpu"], "unknown device 'tpu'"),
    ([*RUN, "--device", "cuda:7"], "is not there"),
    ([*RUN, "--precision", "fp8"], "precision: input should be 'auto'"),
    ([*RUN, "--precision", "tf32", "--device", "cpu"], "needs a GPU"),
    ([*RUN, "--recipe", "none.yaml"], "the recipe file 'none.yaml' does not exist"),
    ([*RUN, "--recipe", "{text}"], "expected fields such as method and teacher"),
    ([*RUN, "--format", "xml"], "unknown format 'xml'"),
    (
        ["run", "--method", "teacher", "--teacher", "edm-digits", "--budget", "images=1k"],
        "does not train and takes no budget",
    ),
    (["show", "method", "sid", "--teacher", "none"], "unknown teacher 'none'"),
    (["show", "run", "none"], "unknown run 'none'"),
    (["sample", "none"], "unknown run 'none'"),
    (["sample", "teacher:edm-digit"], "did you mean 'edm-digits'?"),
    (["sample", "{text}"], "is no generator of this suite"),
    (["sample", "edm-digits"], "say teacher:edm-digits"),
    (["table", "--teacher", "none"], "unknown teacher 'none'"),
    (["sample", "teacher:edm-digits", "-o", "{text}/grid.png"], "cannot write to the folder"),
    (["train", "gaussian"], "is not trained by this suite"),
    (["train", "edm-digit"], "unknown teacher or extractor 'edm-digit'"),
    ([*RUN, "--teacher-path", "~nosuchuser/x"], "home folder of a user who is not there"),
    ([*RUN, "--reference", "x" * 300], "is longer than any file's"),
    (["show", "run", "x" * 300], "unknown run"),
    (["table", "--format", "xml"], "unknown format 'xml'"),
    (["table", "--metrics", "fidd"], "unknown metric 'fidd'; did you mean 'fid'?"),
    (["run", "--method", "**", "--teacher", "edm-digits"], "unknown method '**'"),
    (["run", "--method", "/x", "--teacher", "edm-digits"], "unknown method '/x'"),
    (["run", "--method", "sid", "--teacher", "gaussian", "--eval", "is"], "needs the feature 'logits'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[" ".join(a[-2:]) for a, _ in BAD])
def test_bad_input_gives_one_sentence_exit_code_2_and_writes_nothing(
    tmp_path, monkeypatch, bench, arguments, sentence
):
    files = {
        "broken": plugin(tmp_path, "1 / 0", "broken.py"),
        "taken": plugin(tmp_path, METHOD.format(name="sid"), "taken.py"),
        "text": plugin(tmp_path, "just words", "words.txt"),
    }
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = bench(*(a.format(**files) if "{" in a else a for a in arguments))
    assert sentence in err
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert sorted(p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts) == before


def test_no_finished_run_is_a_failure_that_says_what_to_do(bench):
    code, _, err = bench("table")
    assert code == 1
    assert "bench run --method sid --teacher edm-digits" in err


def test_a_run_prints_its_numbers_on_stdout_and_talks_on_stderr(bench, tmp_path):
    out, err = bench.ok(*RUN, *QUICK)
    assert re.search(r"FID ↓\s+IS ↑\s+digits-60\s+digits-60\s+NFE", out)
    assert re.search(r"teacher \(edm-digits\)\s+[\d.]+ ± [\d.]+", out)
    assert re.search(r"sid\s+[\d.]+ ± [\d.]+\s+[\d.]+ ± [\d.]+\s+1\s+48", out)
    folder = Path(re.search(r"run +(\S+)", out)[1])
    assert (folder / "record.json").is_file()
    number = r"[\d.]+( ± [\d.]+)?"
    assert len(re.findall(rf"\d images +[\d.]+ s  FID {number}  IS {number}  \(digits-60\)", err)) == 2
    assert re.search(rf"teacher, NFE 35  FID {number}  IS {number}  \(digits-60\)", err)
    again, err = bench.ok(*RUN, *QUICK)
    assert again == out
    assert "this run is finished" in err
    assert bench.json(*RUN, *QUICK)["status"] == "done"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list", "methods"], ["list", "runs"], [*RUN, *QUICK]], ids=lambda a: a[-1]
)
def test_what_should_answer_at_once_imports_neither_torch_nor_pandas(bench, arguments):
    """Help, lists, and a run that is finished."""
    assert bench(*RUN, *QUICK)[0] == 0
    code = f"import sys; sys.argv = ['bench', *{arguments!r}]\nfrom bench.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
    code += "heavy = {'torch', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)\nassert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_dry_run_estimates_and_writes_nothing(bench, tmp_path):
    out = bench.ok(*RUN, "--budget", "images=64k", "--set", "batch=128", "--dry-run").out
    assert "evaluated at       0, 2k, 4k, 8k, 16k, 32k, 64k" in out.replace("1.02k", "1k").replace(
        "1k, ", ""
    )
    assert re.search(r"updates +500\n", out)
    assert re.search(r"flops +1\d\dG", out)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("method", ["sid", "dmd"])
def test_a_large_networks_batch_is_estimated_from_a_few_images(method, monkeypatch):
    """Operations are proportional to the batch, so that trying one image and three tells those of all."""
    job = make_job(make_request(method=method, teacher="edm-digits", settings={"batch": 64}))
    whole = estimate._cost_of_an_update(job, Budget("updates", 1))
    monkeypatch.setattr(environment, "_LARGE", 0)
    tried = estimate._cost_of_an_update(job, Budget("updates", 1))
    assert tried["images"] == whole["images"] == 64
    assert tried["flops"] == pytest.approx(whole["flops"], rel=1e-9)
    assert tried["seconds"] > 0
    assert estimate._extrapolated([1, 3], [5.0, 9.0], 10) == 23
    assert estimate._extrapolated([1, 3], [5.0, 4.0], 10) == 4  # noise


def test_plugin_method_takes_part_in_everything(bench, tmp_path):
    file = str(plugin(tmp_path, METHOD.format(name="to-zero")))
    out = bench.ok(
        "run",
        "--method",
        "to-zero",
        "--teacher",
        "edm-digits",
        "--plugin",
        file,
        *set_flags(SETTINGS),
        *QUICK,
    ).out
    run_id = Path(re.search(r"run +(\S+)", out)[1]).name
    assert "to-zero" in bench.ok("table").out
    assert "Regresses the generator to zero." in bench.ok("list", "methods", "--plugin", file).out
    assert (
        "NFE 1"
        in bench.ok("sample", run_id, "-n", "4", "-o", str(tmp_path / "grid.png"), "--plugin", file).out
    )


@pytest.fixture
def three_runs(tmp_path, tmp_path_factory):
    """Two seeds of one setting and one of another, which are made once and then copied; the frame
    of their numbers.
    """
    made = tmp_path_factory.getbasetemp() / "three-runs"
    if not made.exists():
        quick = {
            "budget": "updates=2",
            "eval_samples": 60,
            "eval_repeats": 2,
            "eval_points": 2,
            "results": made,
        }
        for seed in (0, 1):
            suite.run("sid", "edm-digits", seed=seed, settings={"batch": 8}, **quick)
        suite.run("sid", "edm-digits", settings={"batch": 8, "alpha": 0.9}, **quick)
    shutil.copytree(made, tmp_path / "runs")
    return suite.results()


def test_the_table_averages_over_seeds_and_tells_settings_apart(bench, three_runs):
    rows = {row["variant"]: row for row in bench.json("table")}
    plain, changed = "batch=8", "batch=8, alpha=0.9"
    assert set(rows) == {plain, changed}  # what was given by hand
    fids = three_runs[three_runs["metric"] == "fid"]
    both = fids.groupby("group").filter(lambda group: set(group["seed"]) == {0, 1})
    assert rows[plain]["seeds"] == 2
    assert rows[plain]["fid_digits-60"] == pytest.approx(both["value"].mean())
    assert rows[plain]["fid_digits-60_std"] == pytest.approx(both["value"].std())
    assert rows[changed]["fid_digits-60_seeds"] == 1


def test_a_seed_measured_twice_is_one_seed(bench, three_runs):
    """Other evaluation points or repeats make another run, not another seed."""
    quick = {"budget": "updates=2", "eval_samples": 60}
    suite.run("sid", "edm-digits", settings={"batch": 8}, eval_points=3, eval_repeats=3, **quick)
    rows = {row["variant"]: row for row in bench.json("table")}
    assert rows["batch=8"]["seeds"] == 2 == rows["batch=8"]["fid_digits-60_seeds"]


def test_every_format_carries_the_same_numbers_and_its_protocol(bench, three_runs, tmp_path):
    texts = {}
    for form in ("terminal", "md", "latex", "csv", "json"):
        file = tmp_path / f"table.{form}"
        out = bench.ok("table", "--format", form).out
        assert bench("table", "--format", form, "-o", str(file))[0] == 0
        assert file.read_text() == out
        texts[form] = out
        assert "digits-60" in out
    rows = json.loads(texts["json"])
    from_csv = list(csv.DictReader(io.StringIO(texts["csv"])))
    for a, b in zip(rows, from_csv, strict=True):
        assert {k: "" if v is None else str(v) for k, v in a.items()} == b
    for row in rows:
        shown = f"{row['fid_digits-60']:.2f} ± {row['fid_digits-60_std']:.2f}"
        assert shown in texts["terminal"]
        assert shown in texts["md"]
        assert shown.replace("±", r"$\pm$") in texts["latex"]
    assert texts["latex"].count("\\\\\n") == len(rows) + 2  # the titles have two lines
    assert texts["md"].count("\n|") == len(rows) + 1


def test_numbers_of_two_sample_sizes_never_share_a_column(bench, three_runs):
    suite.run(
        "sid", "edm-digits", settings={"batch": 8}, budget="updates=2", eval_samples=80, eval_repeats=1
    )
    rows = bench.json("table", "--metrics", "fid")
    assert any(row["fid_digits-60"] is not None and row["fid_digits-80"] is not None for row in rows)
    assert not any(key.startswith("is_") for row in rows for key in row)


def test_damaged_records_are_named_and_skipped(bench, three_runs, tmp_path):
    victim = next((tmp_path / "runs").glob("*/record.json"))
    victim.write_text("{")
    newer = next(p for p in (tmp_path / "runs").glob("*/record.json") if p != victim)
    unsealed = newer.read_text().rpartition(',\n "seal"')[0] + "}"
    newer.write_text(unsealed.replace('"schema": 1', '"schema": 99'))
    out, err = bench.ok("table", "--format", "json")
    assert len(json.loads(out)) == 1
    assert f"the record {victim} is damaged" in err
    assert "has schema 99" in err


def test_show_prints_values_with_their_sources(bench):
    facts = bench.json("show", "method", "sid", "--teacher", "edm-digits")
    alpha = facts["settings"]["alpha"]
    assert (alpha["value"], alpha["meaning"]) == (1.0, "weight of the quadratic term")
    assert alpha["source"].startswith("tuned here")
    assert facts["settings"]["budget"]["value"] == "flops=2T"
    assert "tuned here" in bench("show", "method", "sid", "--teacher", "edm-digits")[1]
    assert "made_by: bench train edm-digits" in bench("show", "teacher", "edm-digits")[1]


def test_sample_writes_a_grid_that_depends_on_seeds_alone(bench, tmp_path):
    for name, n in (("a", 9), ("b", 4)):
        arguments = ["sample", "teacher:edm-digits", "-n", str(n), "--steps", "4", "--columns", "3"]
        assert "NFE 7" in bench.ok(*arguments, "-o", str(tmp_path / f"{name}.png")).out
    a, b = (Image.open(tmp_path / f"{name}.png").convert("RGB") for name in "ab")
    row = (0, 0, a.width, a.height // 3)
    assert a.crop(row).tobytes() == b.crop(row).tobytes()
    assert bench("sample", "teacher:gmm-ring", "-o", str(tmp_path / "ring.png"))[0] == 0


def test_an_unexpected_error_is_a_sentence_and_exit_code_1(bench, tmp_path):
    text = METHOD.format(name="to-zero").replace("self.generate(batch.z).square()", "batch.nothing")
    run = [
        "run",
        "--method",
        "to-zero",
        "--teacher",
        "edm-digits",
        "--plugin",
        str(plugin(tmp_path, text)),
    ]
    code, _, err = bench(*run, *set_flags(SETTINGS), *QUICK, "--eval", "none")
    assert code == 1
    assert "error: AttributeError: 'Batch' object has no attribute 'nothing'" in err
    assert "bench --debug run" in err
    assert "Traceback" not in err


def test_train_writes_weights_that_a_run_can_use(bench, tmp_path):
    file = tmp_path / "own.safetensors"
    assert (
        "not the shipped weights"
        in bench.ok("train", "edm-digits", "--images", "2000", "-o", str(file)).out
    )
    record = bench.json(*RUN, *QUICK, "--eval", "none", "--teacher-path", str(file))
    assert record["recipe"]["teacher_path"] == str(file)
    assert record["evaluations"] == []
    teacher = [
        "run",
        "--method",
        "teacher",
        "--teacher",
        "edm-digits",
        "--set",
        "steps=2",
        "--eval",
        "none",
    ]
    run_id = bench.json(*teacher, "--teacher-path", str(file))["run_id"]
    own, shipped = tmp_path / "own.png", tmp_path / "shipped.png"
    bench.ok("sample", run_id, "-n", "4", "-o", str(own))
    bench.ok("sample", "teacher:edm-digits", "--steps", "2", "-n", "4", "-o", str(shipped))
    assert own.read_bytes() != shipped.read_bytes()  # the run samples the weights it was made with


@pytest.mark.parametrize(
    "what", ["methods", "teachers", "datasets", "evals", "metrics", "extractors", "protocols", "runs"]
)
def test_everything_can_be_listed(bench, three_runs, what):
    rows = bench.json("list", what)
    assert len(rows) >= 2
    out = bench.ok("list", what).out
    assert all(next(iter(row.values())) in out for row in rows)


def test_a_protocol_is_shown_in_full(bench):
    facts = bench.json("show", "protocol", "edm-50k")
    assert (facts["samples"], facts["replicates"], facts["papers quote"]) == (
        50_000,
        3,
        "the smallest of the replicates",
    )
    assert facts["metrics"]["is"] == {
        "better": "higher",
        "feature": "logits",
        "splits": 10,
        "permutation": 2020,
    }
    assert facts["references"]["cifar10"][0]["images"] == 50_000
    assert {"labels", "seeds", "quantisation"} <= facts.keys()
    sid = bench.json("show", "protocol", "sid-50k")
    assert sid["metrics"]["is"]["permutation"] is None
    assert "fd-dinov2" not in sid["metrics"]


def test_metrics_and_extractors_are_shown_with_their_protocols(bench):
    facts = bench.json("show", "metric", "memorization")
    assert "copies 1" in facts["meaning"]
    assert {"edm-50k", "digits-5k"} <= set(facts["protocols"])
    facts = bench.json("show", "extractor", "inception")
    assert facts["features"] == ["pool", "logits"]
    assert facts["files"][0]["sha256"].startswith("6726825d")
    assert "edm-50k" in facts["protocols"]
    assert "clean-50k" not in facts["protocols"]
    code, _, err = bench("show", "metric", "FID")
    assert code == 2
    assert "did you mean 'fid'?" in err


def test_doctor_finds_this_installation_sound_and_a_broken_plugin_not(bench, tmp_path):
    assert "FAIL" not in bench.ok("doctor").out
    code, out, _ = bench("doctor", "--plugin", str(plugin(tmp_path, "1 / 0")))
    assert code == 1
    assert re.search(r"FAIL +plugin .*ZeroDivisionError", out)


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "table",
        "plot",
        "list",
        "show",
        "sample",
        "eval",
        "verify",
        "export",
        "claims",
        "train",
        "stats",
        "fetch",
        "doctor",
    ],
)
def test_each_command_has_help_with_an_example(bench, command):
    assert "Example: bench " + command in " ".join(bench.ok(command, "--help").out.split())


def test_the_help_names_every_command_in_the_words_of_its_docstring():
    modules = {file.stem for file in Path(bench_cli.__file__).parent.glob("*.py")}
    assert set(bench_cli.COMMANDS) <= modules
    for name, line in bench_cli.COMMANDS.items():
        docstring = inspect.getdoc(importlib.import_module(f"bench.cli.{name}").command)
        assert " ".join(docstring.partition("\n\n")[0].split()) == line


def test_every_evaluation_and_every_run_has_the_flags_of_its_options():
    evaluation, run = get_type_hints(EvaluationFlags), get_type_hints(RunFlags)
    assert set(evaluation) == set(EvaluationOptions.model_fields)
    assert set(evaluation) | set(run) == set(RunOptions.model_fields)
    for name, flags in {
        "run": {**run, **evaluation},
        "compare": {**run, **evaluation},
        "eval": evaluation,
    }.items():
        assert set(flags) <= {parameter.name for parameter in load_command(name).params}


def test_metrics_are_asked_for_by_either_flag(bench):
    for flag in ("--eval", "--metrics"):
        for command in (
            [*RUN],
            ["compare", "--methods", "sid", "--teacher", "edm-digits"],
            ["eval", "teacher:edm-digits"],
        ):
            code, _, err = bench(*command, flag, "fidd")
            assert (code, err) == (2, "error: unknown metric 'fidd'; did you mean 'fid'?\n")
    code, _, err = bench("eval", "teacher:edm-digits", "--metrics", "none")
    assert code == 2
    assert "measures nothing" in err


def test_version_is_printed(bench):
    assert re.fullmatch(r"distill-bench \d+\.\d+\.\d+\n", bench.ok("--version").out)


def test_a_plugin_without_a_card_shows_what_must_be_given(bench, tmp_path):
    file = str(plugin(tmp_path, METHOD.format(name="to-zero")))
    facts = bench.json("show", "method", "to-zero", "--plugin", file)
    assert facts["settings"]["lr"] == {
        "value": None,
        "meaning": "learning rate of the generator",
        "source": "none: must be given",
    }
    code, _, err = bench(
        "run", "--method", "to-zero", "--teacher", "edm-digits", "--plugin", file, "--set", "lr=1e-3"
    )
    assert code == 2
    assert "no value for batch, lr_decay, ema_halflife, dropout on 'edm-digits'" in err


def test_a_misspelt_setting_in_a_card_is_refused(bench, tmp_path):
    file = str(plugin(tmp_path, METHOD.format(name="to-zero")))
    (tmp_path / "plugin.yaml").write_text("defaults: {lr_decya: {value: 0, source: nowhere}}")
    code, _, err = bench("show", "method", "to-zero", "--plugin", file)
    assert code == 2
    assert "'lr_decya'; did you mean 'lr_decay'?" in err


def test_adding_a_metric_leaves_the_other_comparable(bench, three_runs):
    suite.run(
        "sid",
        "edm-digits",
        seed=7,
        settings={"batch": 8},
        budget="updates=2",
        eval_samples=60,
        eval=["fid"],
        eval_repeats=1,
    )
    rows = bench.json("table", "--metrics", "fid")
    assert {key for row in rows for key in row if key.startswith("fid")} == {
        "fid_digits-60",
        "fid_digits-60_std",
        "fid_digits-60_seeds",
    }
    assert rows[0]["seeds"] + rows[1]["seeds"] == 4


def test_debug_shows_the_traceback(bench):
    with pytest.raises(UsageError):
        bench("--debug", "run", "--method", "none", "--teacher", "edm-digits")


SID_AGAIN = '''
from bench.plugin import register_method
from methods.sid import SiD

@register_method("mine")
class Mine(SiD):
    """SiD again."""
'''


def test_a_weights_file_names_a_plugin_and_it_is_not_run_for_that(bench, tmp_path, monkeypatch):
    """A generator made with a plugin is sampled only if that very file is given again."""
    monkeypatch.chdir(tmp_path)
    mine = plugin(tmp_path, SID_AGAIN, "mine.py")
    settings = {
        "alpha": 1.2,
        "tmax": 0.8,
        "batch": 8,
        "lr": 1e-4,
        "fake_lr": 1e-4,
        "lr_decay": 0,
        "ema_halflife": 100,
    }
    settings |= {"dropout": 0, "init_sigma": 2.5, "augment": "false", "beta1": 0}
    run = [
        "run",
        "--plugin",
        "mine.py",
        "--method",
        "mine",
        "--teacher",
        "edm-digits",
        "--budget",
        "updates=1",
        "--eval",
        "none",
    ]
    bench.ok(*run, *set_flags(settings))
    weights = next((tmp_path / "runs").glob("mine-*/checkpoints/generator.safetensors"))
    tensors, meta = load_tensors(weights)
    sentinel = tmp_path / "executed"
    evil = plugin(tmp_path, f"open({str(sentinel)!r}, 'w')", "evil.py")
    meta["recipe"]["plugins"] = {str(evil): meta["recipe"]["plugins"][str(mine)]}
    save_tensors(tmp_path / "hostile.safetensors", tensors, meta)
    registry._from_files.clear()
    registry._loaded_files.clear()
    for file in ("hostile.safetensors", str(weights)):
        code, _, err = bench("sample", file, "-n", "1")
        assert code == 2
        assert "which has not been given; give that very file with --plugin" in err
    assert not sentinel.exists()
    bench.ok("sample", str(weights), "-n", "1", "--plugin", "mine.py")


@pytest.mark.parametrize("recipe", [{"method": "sid"}, [], "sid"])
def test_a_recipe_that_is_none_in_a_weights_file_is_one_sentence(bench, tmp_path, recipe):
    save_tensors(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, {"recipe": recipe})
    code, _, err = bench("sample", str(tmp_path / "w.safetensors"), "-n", "1")
    assert code == 2
    assert err.count("\n") == 1
    assert "carries a recipe that does not hold" in err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("batch=064", 64),
        ("batch=1e2", 100),
        ("batch=1k", 1000),
        ("batch=1_000", 1000),
        ("batch=0.5k", 500),
        ("lr=1e-5", 1e-5),
        ("lr=.5", 0.5),
        ("ema_halflife=20k", 20_000),
        ("lr_decay=1", 1),
    ],
)
def test_a_number_is_written_in_one_way_for_settings_and_budgets(bench, given, expected):
    name = given.partition("=")[0]
    out = bench.ok(*RUN, "--budget", "images=64k", "--set", given, "--dry-run").out
    assert parse_yaml(out.partition("\n\n")[0])["settings"][name] == expected


@pytest.mark.parametrize(
    "given",
    [
        *(
            "batch=yes",
            "batch=1:04",
            "batch=2.5",
            "batch=0b11",
            "batch=2026-01-01",
            "batch=1kk",
            "batch=k",
        ),
        *("batch=1e400", "lr=on", "lr=.inf", "lr=nan", "lr=-1", "alpha=no"),
    ],
)
def test_what_is_no_number_is_refused_by_its_name(bench, given):
    code, _, err = bench(*RUN, "--set", given, "--dry-run")
    assert code == 2
    assert f"method 'sid': {given.partition('=')[0]}: " in err
    assert err.count("\n") == 1
