"""The hyper-parameter files of the built-in methods."""

from __future__ import annotations

import pytest

from bench.hyperparameters import card, resolve
from bench.registry import entries, get

METHODS = sorted(entries("method"))


@pytest.mark.parametrize("name", METHODS)
def test_every_value_has_a_source_and_every_setting_a_meaning(name):
    method = get("method", name)
    data = card(method)
    fields = method.Settings.model_fields
    assert set(data.defaults) - {"budget"} == set(fields)
    assert data.citation
    assert data.bibtex.startswith("@")
    assert data.citation in data.bibtex
    for values in [data.defaults, *data.teachers.values()]:
        assert set(values) <= {*fields, "budget"}
        assert all(len(v.source) > 4 for v in values.values())
    assert all(field.description for field in fields.values())


def test_sid_uses_the_papers_cifar10_values_by_default():
    settings = resolve("sid", get("method", "sid"), "edm-cifar10", {}).settings
    assert (settings.alpha, settings.tmax, settings.init_sigma, settings.batch) == (1.2, 0.8, 2.5, 256)
    assert (settings.lr, settings.fake_lr, settings.dropout, settings.ema_halflife) == (1e-5, 1e-5, 0.13, 5e5)


def test_an_override_wins_over_the_teachers_value_and_is_marked_as_given():
    chosen = resolve("sid", get("method", "sid"), "edm-digits", {"alpha": 1.0})
    assert chosen.settings.alpha == 1.0
    assert chosen.sources["alpha"] == "given"
    assert chosen.sources["lr"] == "tuned here"
