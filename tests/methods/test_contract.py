"""What every built-in method states of itself, and what its file looks like."""

from __future__ import annotations

import inspect

import pytest
import torch

from bench import registry
from bench.plugin import Method
from bench.settings import choose_settings
from tests.helpers.trainers import DATA_FREE, TRAINED, make_trainer

METHODS = sorted(registry.methods.entries())


@pytest.mark.parametrize("name", METHODS)
def test_no_method_is_more_than_two_classes_below_the_contract(name):
    """Method, one base in methods/parts, the method: so that its file shows it whole."""
    method = registry.methods.get(name)
    between = [c for c in method.__mro__[1:] if issubclass(c, Method) and c is not Method]
    assert len(between) <= 1
    assert all(c.__module__.startswith("methods.parts.") for c in between)
    assert all(issubclass(Method, c) for c in set(method.__mro__) - {method, *between}), (
        "a mixin counts as a class"
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_method_declares_whether_its_generator_draws_more_noise(name):
    method = registry.methods.get(name)
    assert method.draws == ("draw" in inspect.signature(method.generate).parameters)


def test_an_evaluation_gives_its_draws_to_the_generators_that_declare_them():
    class Draws(registry.methods.get("kd")):
        draws = True

        def generate(self, z, labels=None, draw=None):
            return draw()

    trainer = make_trainer("kd")
    z, fresh = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    assert torch.equal(Draws(trainer.settings, trainer.teacher).sample(z, None, lambda: fresh), fresh)
    assert torch.equal(trainer.method.sample(z, None, lambda: fresh), trainer.method.generate(z))


@pytest.mark.parametrize(("name", "settings"), TRAINED)
def test_data_free_is_what_learns_from_no_pairs_and_no_real_images(name, settings):
    method = registry.methods.get(name)
    assert method.data_free(choose_settings(method, "edm-digits", settings).settings) == (
        (name, settings) in DATA_FREE
    )


@pytest.mark.parametrize("name", ["dmd", "kd", "pd", "cd"])
def test_a_distance_is_made_once_before_training_and_never_to_generate(name, monkeypatch):
    """Reading LPIPS' weights is no part of an update's time, and a trained generator needs none of them."""
    method, made = registry.methods.get(name), []
    monkeypatch.setattr(
        f"{method.__module__}.distance",
        lambda *asked: made.append(asked) or (lambda a, b: (a - b).mean((1, 2, 3))),
    )
    trainer = make_trainer(name, batch=4)
    assert len(made) == 1
    trainer.iteration()
    trainer._prepare()  # as at the beginning of a stage
    method(trainer.settings, trainer.teacher).generate(torch.zeros(2, 1, 8, 8))
    assert len(made) == 1


def test_dmd_without_regression_makes_no_distance(monkeypatch):
    monkeypatch.setattr("methods.dmd.distance", lambda *asked: pytest.fail("not needed"))
    make_trainer("dmd", regression=0)
