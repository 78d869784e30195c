"""The hyper-parameter files of the built-in methods."""

from __future__ import annotations

import pytest

from bench import registry
from bench.settings import card, choose_settings

METHODS = sorted(registry.methods.entries())


@pytest.mark.parametrize("name", METHODS)
def test_every_value_has_a_source_and_every_setting_a_meaning(name):
    method = registry.methods.get(name)
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


def test_every_trained_method_states_its_passes_and_its_digits_recipe():
    for name in METHODS:
        data = card(registry.methods.get(name))
        if registry.methods.get(name).trains:
            assert data.price(), name
            assert "edm-digits" in data.teachers, name


FIVE = {
    "edm-cifar10": (1.2, 1e-5, 1e-5, 0.0, 256, 0.13, 5e5, "images=500M"),
    "edm-cifar10-cond": (1.2, 1e-5, 1e-5, 0.0, 256, 0.13, 5e5, "images=800M"),
    "edm-imagenet64": (1.2, 4e-6, 4e-6, 0.0, 8192, 0.10, 2e6, "images=1000M"),
    "edm-ffhq64": (1.2, 1e-5, 1e-5, 0.9, 512, 0.05, 5e5, "images=500M"),
    "edm-afhqv2": (1.0, 5e-6, 5e-6, 0.0, 512, 0.05, 5e5, "images=500M"),
}
"""SiD's five published settings: alpha, both learning rates, the generator's beta1, batch, dropout,
half-life, budget.
"""


@pytest.mark.parametrize("teacher", FIVE)
def test_sid_has_its_five_published_settings(teacher):
    chosen = choose_settings(registry.methods.get("sid"), teacher, {})
    s = chosen.settings
    assert (
        s.alpha,
        s.lr,
        s.fake_lr,
        s.beta1,
        s.batch,
        s.dropout,
        s.ema_halflife,
        chosen.budget,
    ) == FIVE[teacher]
    assert (s.tmax, s.init_sigma, s.lr_decay) == (0.8, 2.5, 0)
    adversarial = choose_settings(registry.methods.get("sida"), teacher, {}).settings
    assert (adversarial.lr, adversarial.batch, adversarial.dropout) == (s.lr, s.batch, s.dropout)
    assert (adversarial.alpha, adversarial.beta1) == (1.0, 0.0)
    assert adversarial.micro_batch == (64 if teacher in ("edm-ffhq64", "edm-afhqv2") else 32)


@pytest.mark.parametrize(
    ("teacher", "steps", "pairs"), [("edm-cifar10", 18, 500_000), ("edm-imagenet64", 256, 25_000)]
)
def test_dmd_has_the_papers_pairs(teacher, steps, pairs):
    settings = choose_settings(registry.methods.get("dmd"), teacher, {}).settings
    assert (settings.pair_steps, settings.pairs, settings.distance) == (steps, pairs, "lpips")


def test_sid_uses_the_papers_cifar10_values_by_default():
    settings = choose_settings(registry.methods.get("sid"), "edm-cifar10", {}).settings
    assert (settings.alpha, settings.tmax, settings.init_sigma, settings.batch) == (1.2, 0.8, 2.5, 256)
    assert (settings.lr, settings.fake_lr, settings.dropout, settings.ema_halflife) == (
        1e-5,
        1e-5,
        0.13,
        5e5,
    )


def test_an_override_wins_over_the_teachers_value_and_is_marked_as_given():
    chosen = choose_settings(registry.methods.get("sid"), "edm-digits", {"alpha": 1.0})
    assert chosen.settings.alpha == 1.0
    assert chosen.sources["alpha"] == "given"
    assert chosen.sources["lr"].startswith("tuned here")
