"""What ``bench new`` writes keeps its contract at once, and reads as its own."""

from __future__ import annotations

import pytest

from bench import registry
from bench.conformance.examination import KINDS, examination
from bench.errors import UsageError
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
    findings = list(examination("method", "my-own", plugins=[file], settings=settings))
    assert [f for f in findings if f.outcome == "failed"] == []
    assert len(findings) > 15


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
        ("mine", "sidd", "did you mean 'sid'"),
        ("mine", "sid2a", "the losses of the method 'sid2a' are those of others that it carries out"),
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
