"""Finding things by name: entry points, plugin files, clashes, and plugins that are broken."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import bench as suite
from bench import registry
from bench.errors import UsageError
from bench.runs.store import read_records
from tests.helpers.plugins import METHOD, SETTINGS, plugin

BUILT_IN = {
    "sid",
    "sida",
    "sid2a",
    "diff-instruct",
    "sim",
    "dmd",
    "dmd2",
    "f-distill",
    "kd",
    "pd",
    "cd",
    "ect",
    "scd",
    "teacher",
}


def test_the_built_ins_come_through_entry_points_and_fulfil_their_contracts():
    assert set(registry.methods.entries()) >= BUILT_IN
    for kind in registry.REGISTRIES:
        for name, entry in registry.REGISTRIES[kind].entries().items():
            assert registry.REGISTRIES[kind].get(name)
            assert entry.summary(), f"{kind} {name} has no summary"
            assert entry.origin.startswith("package distill-bench")


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has imported after running ``code``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_listing_imports_neither_torch_nor_any_plugin():
    code = "import sys; from bench.cli import app; from bench import registry\n"
    code += (
        "[e.summary() for k in registry.REGISTRIES for e in registry.REGISTRIES[k].entries().values()]"
    )
    modules = imported_by(code)
    assert "bench.registry" in modules
    assert not {"torch", "pandas", "methods.sid", "teachers.digits", "evals.fid"} & modules


def test_bench_imports_none_of_the_built_ins():
    code = "import sys, pkgutil, importlib, bench\n"
    code += "[importlib.import_module(m.name) for m in pkgutil.walk_packages(bench.__path__, 'bench.')]"
    modules = imported_by(code)
    assert "bench.training.run" in modules
    assert not {m for m in modules if m.partition(".")[0] in ("methods", "teachers", "evals")}


def test_a_plugin_file_registers_a_method(tmp_path):
    file = plugin(tmp_path, METHOD.format(name="to-zero"))
    registry.load_plugin(file)
    registry.load_plugin(file)  # a second time does nothing
    assert registry.methods.get("to-zero").__name__ == "Constant"
    entry = registry.methods.entries()["to-zero"]
    assert str(file) in entry.origin
    assert entry.summary() == "Regresses the generator to zero."


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            METHOD.format(name="sid"),
            "registers the method 'sid', but package distill-bench .* already provides",
        ),
        ("import nothing_of_this_name", "does not import: ModuleNotFoundError"),
        ("def broken(:", "does not import: SyntaxError"),
        ("x = 1", "registers nothing"),
        (METHOD.format(name="a") + METHOD.format(name="a"), "already provides that name"),
    ],
)
def test_a_bad_plugin_file_gives_a_sentence_and_takes_nothing_down(tmp_path, text, complaint):
    with pytest.raises(UsageError, match=complaint):
        registry.load_plugin(plugin(tmp_path, text))
    assert set(registry.methods.entries()) == BUILT_IN
    assert registry.methods.get("sid").__name__ == "SiD"


def test_a_plugin_file_that_does_not_exist_or_is_not_python_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        registry.load_plugin(tmp_path / "none.py")
    with pytest.raises(UsageError, match=r"name must end in \.py"):
        registry.load_plugin(plugin(tmp_path, METHOD, "plugin.txt"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "from bench.plugin import register_method\n@register_method('x')\nclass X: pass",
            "expected a subclass of bench.plugin.Method",
        ),
        (
            "from bench.plugin import register_method, Method\n@register_method('x')\n"
            "class X(Method):\n  def build(self, t): pass",
            "X does not define generate, steps",
        ),
        (
            "from bench.plugin import register_teacher, Teacher\n@register_teacher('x')\n"
            "class X(Teacher):\n  def load(self, path): pass",
            "X does not define image_spec, noise, sampler, dataset, protocol",
        ),
    ],
)
def test_a_class_that_breaks_its_contract_is_named_when_used(tmp_path, text, complaint):
    registry.load_plugin(plugin(tmp_path, text))
    with pytest.raises(UsageError, match=complaint):
        (registry.teachers if "register_teacher" in text else registry.methods).get("x")


def test_two_packages_with_one_name_are_both_named_and_the_rest_works(monkeypatch):
    points = (
        EntryPoint("sid", "methods.sid:SiD", "bench.methods"),
        EntryPoint("sid", "other.sid:SiD", "bench.methods"),
    )
    points += (
        EntryPoint("broken", "no_such_module:X", "bench.methods"),
        EntryPoint("dmd", "methods.dmd:DMD", "bench.methods"),
    )
    monkeypatch.setattr(registry, "_installed", lambda group: points)
    with pytest.raises(
        UsageError, match=r"methods.sid:SiD and .*other.sid:SiD both provide the method 'sid'"
    ):
        registry.methods.get("sid")
    with pytest.raises(UsageError, match=r"the method 'broken' of .* does not import"):
        registry.methods.get("broken")
    assert registry.methods.get("dmd").__name__ == "DMD"


TABLE = """
Mine:
  folder: https://example.org
  licence: MIT
  source: a page
  sigmas: [2.5]
  generators:
    mine: {summary: One., teacher: edm-cifar10, method: sid, file: deep/mine.pkl}
    sid-cifar10-alpha1.2: {summary: Taken., teacher: edm-cifar10, method: sid, file: a.pkl}
    half: {summary: Lacks its file., teacher: edm-cifar10, method: sid}
"""


def test_a_package_lists_released_generators_in_a_table(monkeypatch, tmp_path):
    (tmp_path / "tabled").mkdir()
    (tmp_path / "tabled" / "__init__.py").write_text("raise SystemExit")
    (tmp_path / "tabled" / "mine.yaml").write_text(TABLE)
    (tmp_path / "tabled" / "list.yaml").write_text("- a")
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        ("a", "tabled:mine.yaml"),
        ("b", "tabled:list.yaml"),
        ("c", "tabled:none.yaml"),
        ("d", "teachers:released.yaml"),
    ]
    installed = tuple(EntryPoint(name, value, "bench.released") for name, value in points)
    monkeypatch.setattr(registry, "_installed", lambda group: installed)
    entries = registry.released.entries()
    assert entries["mine"].summary() == "One."
    mine = registry.released.get("mine")
    assert (mine.name, mine.weights.url, mine.published) == (
        "mine",
        "https://example.org/deep/mine.pkl",
        None,
    )
    assert registry.released.get("sid-cifar10-alpha1.0").method == "sid"
    with pytest.raises(
        UsageError,
        match=r"mine.yaml and .*released.yaml both provide the released 'sid-cifar10-alpha1.2'",
    ):
        registry.released.get("sid-cifar10-alpha1.2")
    with pytest.raises(UsageError, match="file: field required"):
        registry.released.get("half")
    with pytest.raises(
        UsageError, match=r"the table tabled:list.yaml cannot be read: it does not hold families"
    ):
        registry.released.get("b")
    assert "none.yaml" in entries["c"].problem


def test_a_plugin_file_registers_a_released_generator_once(tmp_path):
    text = "from bench import registry\nfrom bench.plugin import register_released\n"
    text += "known = registry.released.get('sid-cifar10-alpha1.2')\nregister_released({name!r})(known)"
    registry.load_plugin(plugin(tmp_path, text.format(name="again")))
    assert registry.released.get("again").teacher == "edm-cifar10"
    with pytest.raises(
        UsageError,
        match=r"registers the released 'sid-cifar10-alpha1.0', but package distill-bench .* already",
    ):
        registry.load_plugin(plugin(tmp_path, text.format(name="sid-cifar10-alpha1.0"), "taken.py"))


@pytest.mark.parametrize(
    ("given", "hint"),
    [("sidd", "'sid'"), ("diff-instuct", "'diff-instruct'"), ("zzz", "known: cd, diff-instruct")],
)
def test_an_unknown_name_suggests_the_nearest(given, hint):
    with pytest.raises(UsageError, match=hint):
        registry.methods.get(given)


def test_an_installed_plugin_that_cannot_be_read_does_not_take_the_listing_down(monkeypatch, tmp_path):
    (tmp_path / "unreadable.py").write_text("def broken(:")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("broken", "unreadable:X", "bench.methods")
    monkeypatch.setattr(
        registry,
        "_installed",
        lambda group: (point, EntryPoint("dmd", "methods.dmd:DMD", "bench.methods")),
    )
    assert "cannot be read" in registry.methods.entries()["broken"].summary()
    assert registry.methods.entries()["dmd"].summary().startswith("Distribution matching")


def test_two_plugin_files_of_one_name_keep_their_own_hyper_parameters(tmp_path):
    from bench.settings import card

    for name, rate in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        registry.load_plugin(plugin(tmp_path / name, METHOD.format(name=name)))
        (tmp_path / name / "plugin.yaml").write_text(
            f"defaults: {{lr: {{value: {rate}, source: here}}}}"
        )
    assert [card(registry.methods.get(name)).defaults["lr"].value for name in "ab"] == [1, 2]


def test_a_plugin_can_bring_its_own_protocol_and_extractor(tmp_path):
    text = """
from bench.plugin import FeatureExtractor, Protocol, register_extractor, register_protocol

@register_extractor("rows")
class Rows(FeatureExtractor):
    image_spec, features = None, ("pool",)
    def __call__(self, images):
        return {"pool": images.float().mean((1, 3))}
    def digest(self):
        return "rows"

register_protocol(Protocol("rows", 200, ("rows",), ("fid",)))
"""
    registry.load_plugin(plugin(tmp_path, text))
    import bench as suite

    record = suite.run(
        "teacher", "edm-digits", settings={"steps": 2}, protocol="rows-200", eval_repeats=1
    )
    assert record.evaluations[0].metrics["fid"].protocol == "rows-200"


def test_a_teacher_may_know_its_facts_only_once_it_is_loaded(bench, tmp_path):
    file = tmp_path / "late.py"
    file.write_text(
        """
from bench.plugin import ImageSpec, register_teacher
from teachers.digits import EDMDigits

@register_teacher("late")
class Late(EDMDigits):
    \"\"\"The digits teacher, which says nothing before it is asked.\"\"\"

    known_before_loading = False
    image_spec = property(lambda self: ImageSpec(1, 8))
    protocol = property(lambda self: "digits-5k")
    dataset = property(lambda self: "digits")
"""
    )
    common = ["--plugin", str(file), "--eval-samples", "20", "--eval-repeats", "1"]
    bench.ok("run", "--method", "teacher", "--teacher", "late", *common)
    bench.ok("eval", "teacher:late", *common)


@pytest.mark.parametrize("name", ["", " ", " sid", "sid ", "a\nb", "a\tb", "a,b", "a:b", "\x1b[31mred"])
def test_a_name_that_no_list_or_table_could_hold_is_refused(name, tmp_path):
    file = plugin(tmp_path, METHOD.replace('"{name}"', repr(name)))
    with pytest.raises(UsageError, match="expected one line of text without commas"):
        registry.load_plugin(file)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("ours w/o gan", "ours-w-o-gan-"),
        ("../up", "-up-"),
        ("..", "method-"),
        ("/etc/passwd", "-etc-passwd-"),
        ("größer (als 1.2)", "gr-er-als-1.2-"),
        ("x" * 300, "x" * 60 + "-"),
    ],
)
def test_a_run_of_any_method_lies_in_one_folder_of_the_results(name, folder, tmp_path):
    file = plugin(tmp_path, METHOD.replace('"{name}"', repr(name)))
    results = tmp_path / "results"
    record = suite.run(
        name,
        "edm-digits",
        plugins=[str(file)],
        settings=SETTINGS,
        budget="updates=1",
        eval=[],
        results=results,
    )
    assert [run.name for run in results.iterdir()] == [record.run_id]
    assert record.run_id.startswith(folder)
    assert [row.method for row in read_records(results)[0]] == [name]
    assert {path.name for path in tmp_path.iterdir()} <= {"plugin.py", "results", "__pycache__"}
