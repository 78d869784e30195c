"""What ``bench new`` writes keeps its contract at once, and reads as its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench import registry
from bench.conformance.examination import KINDS, examination
from bench.errors import UsageError
from bench.scaffold.package import new_package, write_package
from bench.scaffold.scaffold import new_plugin
from bench.settings import choose_settings
from tests.helpers.plugins import plugin

TRAINED = sorted({*registry.methods.entries()} - {"teacher", "sid2a"})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_new_passes_every_check(kind, tmp_path):
    text = new_plugin(kind, "my-own")
    assert "new-" not in text and "New" not in text
    assert "class MyOwn(" in text
    findings = list(examination(kind, "my-own", plugins=[plugin(tmp_path, text)]))
    assert {f.outcome for f in findings} <= {"passed", "skipped"}, [f for f in findings if f.reason]
    assert len(findings) > 5


@pytest.mark.parametrize("parent", TRAINED)
def test_a_variant_is_a_subclass_with_the_loss_of_its_parent_under_a_weight(parent, tmp_path):
    registry.load_plugin(plugin(tmp_path, new_plugin("method", "my-own", parent)))
    own, base = registry.methods.get("my-own"), registry.methods.get(parent)
    assert issubclass(own, base)
    assert {*own.Settings.model_fields} - {*base.Settings.model_fields} == {"fall"}
    changed = {name for name in vars(own) if name.endswith("loss")}
    assert len(changed) == 1 and all(hasattr(base, name) for name in changed)


def test_a_variant_of_sid_passes_every_check(tmp_path):
    sid = choose_settings(registry.methods.get("sid"), "edm-digits", {"batch": 16}).settings
    file = plugin(tmp_path, new_plugin("method", "my-own", "sid"))
    settings = sid.model_dump(exclude={"precision"})
    findings = list(examination("method", "my-own", plugins=[file], settings=settings, slow=False))
    assert [f for f in findings if f.outcome == "failed"] == []
    assert len(findings) > 15


@pytest.mark.parametrize(
    ("kind", "name", "parent", "cls"),
    [
        *(("method", name, "", f"{name.title()}Method") for name in ("step", "adam", "batch", "none")),
        ("method", "teacher-loss", "", "TeacherLoss"),
        ("teacher", "denoiser", "", "DenoiserTeacher"),
        ("teacher", "sampler", "", "SamplerTeacher"),
        ("method", "parent", "sid", "ParentMethod"),
    ],
)
def test_a_name_that_the_example_uses_for_something_else_hides_nothing(
    kind, name, parent, cls, tmp_path
):
    text = new_plugin(kind, name, parent)
    assert f"class {cls}(" in text
    registry.load_plugin(plugin(tmp_path, text))
    assert registry.REGISTRIES[kind].get(name).__name__ == cls


@pytest.mark.parametrize(
    ("name", "parent", "complaint"),
    [
        ("sid", "", "the method 'sid' is that of package distill-bench"),
        (
            "2nd",
            "",
            "makes no name of a Python module; take letters, digits and hyphens, such as my-method",
        ),
        ("a b", "", "makes no name of a Python module"),
        ("class", "", "makes no name of a Python module"),
        ("torch", "", "is that of the module 'torch', which its own would hide"),
        ("mine", "sidd", "did you mean 'sid'"),
        ("mine", "sid2a", "the losses of the method 'sid2a' are of others that it carries out"),
        ("mine", "teacher", "the method 'teacher' does not train"),
    ],
)
def test_a_name_or_parent_that_cannot_be_is_refused(name, parent, complaint):
    with pytest.raises(UsageError, match=complaint):
        new_plugin("method", name, parent)


def test_the_command_writes_a_file_once_and_says_what_to_do_next(tmp_path, monkeypatch, bench):
    monkeypatch.chdir(tmp_path)
    out = bench.ok("new", "metric", "my-own").out
    assert (tmp_path / "my_own.py").exists()
    assert "bench check metric my-own --plugin my_own.py" in out
    code, _, err = bench("new", "metric", "my-own")
    assert code == 2 and "'my_own.py' is there already" in err
    code, _, err = bench("new", "metric", "other", "-o", "other")
    assert code == 2 and "--output 'other' names no Python file; let it end in .py" in err
    out = bench.ok("new", "metric", "other", "-o", "my own.py").out
    assert "bench check metric other --plugin 'my own.py'" in out
    bench.ok("new", "metric", "third", "-o", "third", "--package")


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_announces_what_its_module_holds_and_registers_nothing_itself(
    kind, tmp_path, monkeypatch
):
    """Its entry points are those of its pyproject.toml; imported, it is the thing under its name."""
    write_package(new_package(kind, "my-own"), tmp_path / "my-own")
    project = tomllib.loads((tmp_path / "my-own" / "pyproject.toml").read_text())["project"]
    monkeypatch.syspath_prepend(tmp_path / "my-own")
    points = [
        EntryPoint(name, value, group)
        for group, announced in project["entry-points"].items()
        for name, value in announced.items()
    ]
    installed = registry._installed
    own = lambda group: (*installed(group), *(p for p in points if p.group == group))  # noqa: E731
    monkeypatch.setattr(registry, "_installed", own)
    for point in points:
        what = point.name.partition(".")[0] if "." in point.name else kind
        assert registry.REGISTRIES[what].get(point.name.partition(".")[2] or point.name)
    assert "register" not in (tmp_path / "my-own" / "my_own" / f"{kind}.py").read_text()
    findings = list(examination(kind, "my-own", slow=False)) if kind != "method" else []
    assert [f for f in findings if f.outcome == "failed"] == []
    for module in ("my_own", f"my_own.{kind}"):
        del sys.modules[module]


def test_the_tests_of_a_package_are_those_of_its_contract(tmp_path):
    """As pytest finds them in the package's own folder, with its entry points as pip installs them."""
    folder = tmp_path / "my-own"
    write_package(new_package("dataset", "my-own"), folder)
    tests = folder / "tests" / "test_my_own.py"
    tests.write_text(
        tests.read_text() + "\n    def test_something_else(self):\n        assert self.name\n"
    )
    meta = folder / "my_own-0.1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: my-own\nVersion: 0.1.0\n")
    (meta / "entry_points.txt").write_text("[bench.datasets]\nmy-own = my_own.dataset:MyOwn\n")
    asked = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        "tests",
    ]
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
    done = subprocess.run(
        asked, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
