"""The house stands: imports only point down, each wing keeps to its side, and no room is too large.

``docs/architecture.md`` has the picture. A failure names the import that points the wrong way.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = ["errors", "units", "distributed", "files", "registry"]
COMPUTING = [
    "environment",
    "plugin",
    "settings",
    "trained",
    "factory",
    "evaluation",
    "training",
    "launching",
    "conformance",
    "testing",
    "scaffold",
]
READING = ["ranking", "render"]
ORDER = [
    *GROUND,
    "environment",
    "plugin",
    "runs",
    "settings",
    "trained",
    "factory",
    "evaluation",
    "training",
    "launching",
    "conformance",
    "testing",
    "scaffold",
    *READING,
    "api",
    "tuning",
    "halving",
    "cli",
]
"""Parts of ``bench`` from the ground up. What computes and what reads records meet in ``runs``, and
again in ``api``.
"""
TYPES_ONLY = {"registry"}
"""Parts that name types from above for the type checker alone."""
Import = tuple[str, int, bool, bool]
"""The module imported, its line, whether it stands within a function, and whether it is for the
type checker alone.
"""


def modules() -> dict[str, Path]:
    """Every module of the product by its name."""
    files = [f for top in ("bench", "methods", "teachers", "evals") for f in (ROOT / top).rglob("*.py")]
    return {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files
    }


MODULES = modules()


def imports(file: Path) -> Iterator[Import]:
    def walk(node: ast.AST, within: bool, types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ImportFrom) and child.module:
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    yield whole if whole in MODULES else child.module, child.lineno, within, types
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, child.lineno, within, types
            else:
                guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, within or function, types or guarded)

    yield from walk(ast.parse(file.read_text(encoding="utf-8")), within=False, types=False)


IMPORTS = {name: list(imports(file)) for name, file in MODULES.items()}


def part(module: str) -> str:
    """The part of ``bench`` that a module belongs to; empty for one of another package."""
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "bench" else ""


def arrows(*, types: bool = False) -> Iterator[tuple[str, str, str]]:
    """Imports of the suite's own modules: who, whom, and where."""
    for name, found in IMPORTS.items():
        for target, line, _, for_types in found:
            if target.partition(".")[0] in ("bench", "methods", "teachers", "evals") and (
                types or not for_types
            ):
                yield name, target, f"{MODULES[name].relative_to(ROOT)}:{line} imports {target}"


def test_within_bench_imports_point_down():
    height = {name: i for i, name in enumerate(ORDER)}
    wrong = [
        where
        for name, target, where in arrows(types=True)
        if height.get(part(target), -1) > height.get(part(name), len(height))
        and part(name) not in TYPES_ONLY
    ]
    assert not wrong


def test_every_part_of_bench_has_its_place():
    assert {part(name) for name in MODULES if name.startswith("bench.")} <= {*ORDER, "__main__"}


def test_what_reads_records_imports_nothing_that_computes():
    sides = dict.fromkeys(COMPUTING, READING) | dict.fromkeys(("runs", *READING), COMPUTING)
    assert not [
        where for name, target, where in arrows(types=True) if part(target) in sides.get(part(name), ())
    ]


def test_what_reads_records_never_imports_torch():
    reading = {"runs", "ranking", "render", "errors", "units", "distributed", "registry"}
    wrong = [
        f"{name}:{line}"
        for name, found in IMPORTS.items()
        for target, line, within, types in found
        if part(name) in reading
        and target.partition(".")[0] == "torch"
        and not (types or (name == "bench.distributed" and within))
    ]
    assert not wrong


def test_what_is_shown_is_imported_by_what_people_call_alone():
    assert not [
        w
        for name, target, w in arrows()
        if part(target) == "render" and part(name) not in ("render", "api", "cli")
    ]


def test_plugins_see_the_plugin_page_and_the_readers_of_files_and_bench_sees_no_plugin():
    wrong = []
    for name, target, where in arrows(types=True):
        top, own = name.partition(".")[0], target.partition(".")[0]
        if top == "bench":
            wrong += [where] * (own != "bench")
        else:
            seen = own == top or target.startswith(("bench.plugin", "bench.files"))
            wrong += [where] * (not seen)
    assert not wrong


def test_there_is_no_circle():
    graph: dict[str, set[str]] = {}
    for name, target, _ in arrows():
        if name != target:
            graph.setdefault(name, set()).add(target)
    assert len(list(TopologicalSorter(graph).static_order())) > 100


def test_an_import_within_a_function_says_why():
    lines = {name: MODULES[name].read_text(encoding="utf-8").splitlines() for name in MODULES}
    wrong = []
    for name, found in IMPORTS.items():
        for target, line, within, _ in found:
            if not within:
                continue
            said = any("#" in lines[name][i] for i in range(max(0, line - 4), line))
            wrong += (
                []
                if said
                else [f"{MODULES[name].relative_to(ROOT)}:{line} imports {target} and does not say why"]
            )
    assert not wrong


def test_the_wings_but_the_plugin_page_begin_with_a_docstring_and_nothing_else():
    for file in (ROOT / "bench").rglob("__init__.py"):
        if file.parent.name not in ("bench", "plugin", "cli"):
            assert [type(node) for node in ast.parse(file.read_text()).body] == [ast.Expr], file


@pytest.mark.parametrize("name", ["run", "compare", "results"])
def test_no_module_hides_a_function_of_the_python_interface(name):
    assert f"bench.{name}" not in MODULES


def test_no_module_is_longer_than_350_lines_and_no_body_longer_than_60():
    large = [
        name
        for name, file in MODULES.items()
        if len(file.read_text(encoding="utf-8").splitlines()) > 350
    ]
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                if (node.end_lineno or 0) - body[0].lineno + 1 > 60:
                    large.append(f"{name}:{node.name}")
    assert not large
