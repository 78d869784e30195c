"""The model card: what it says of licences, in the words that Hugging Face knows."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from bench.render.model_card import eval_command, licence_fields, model_card
from bench.runs.exported import Export, GeneratorFacts
from bench.runs.recipe import Recipe, SettledEvaluation


@pytest.mark.parametrize(
    ("words", "identifier"),
    [
        ("CC BY-NC-SA 4.0 (NVIDIA): not for commercial use", "cc-by-nc-sa-4.0"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("Apache-2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("LIMITED to research", "other"),
        ("not known to distill-bench", "other"),
    ],
)
def test_a_licence_has_the_identifier_of_hugging_face(words, identifier):
    assert licence_fields(words)["license"] == identifier


def about(**changes):
    recipe = Recipe(
        method="sid",
        method_digest="m",
        teacher="edm-cifar10-cond",
        seed=0,
        budget="images=200000",
        settings={"alpha": 1.2},
        evaluation=None,
        teacher_digest="t",
    )
    facts = GeneratorFacts(
        teacher=recipe.teacher, channels=3, resolution=32, label_dim=10, classes=10, nfe=1, parameters=5
    )
    whole = Export(
        form="safetensors",
        run_id="sid-edm-cifar10-cond-s0",
        recipe=recipe,
        generator=facts,
        images=200_000,
        digest="d",
        summary="Score identity Distillation.",
        bibtex="",
        licence="CC BY-NC-SA 4.0 (NVIDIA): not for commercial use",
        licence_source="NVlabs/edm README",
    )
    return replace(whole, **changes)


def test_a_student_inherits_its_teachers_licence_and_the_card_says_so():
    card = model_card(about())
    assert "license: cc-by-nc-sa-4.0" in card
    assert "**CC BY-NC-SA 4.0 (NVIDIA): not for commercial use** (NVlabs/edm README)" in card
    assert "not for commercial use either, and shared under the same terms" in card
    assert "not for commercial use either" not in model_card(about(licence="CC BY 4.0"))


def test_a_teacher_of_the_hub_is_the_base_model_and_one_in_a_folder_keeps_its_place_to_itself():
    hub = about().recipe.model_copy(update={"teacher": "diffusers:google/ddpm-cifar10-32"})
    assert "base_model: google/ddpm-cifar10-32" in model_card(about(recipe=hub))
    folder = about().recipe.model_copy(update={"teacher": "diffusers:/home/me/ddpm"})
    card = model_card(about(recipe=folder))
    assert "`diffusers:ddpm`" in card
    assert "/home/me" not in card
    assert "base_model" not in card


def test_weights_without_a_measurement_have_no_number():
    card = model_card(about())
    assert "No measurement of these weights was at hand" in card
    assert "model-index" not in card


def test_a_conditional_graph_shows_the_labels_that_it_takes():
    assert '"labels": np.eye(10, dtype="float32")[np.arange(16) % 10]' in model_card(about(form="onnx"))


def test_commands_have_the_plugins_and_are_quoted_and_what_is_not_in_the_folder_is_named():
    plan = SettledEvaluation(
        protocol="mine",
        samples=60,
        metrics=["fid"],
        repeats=1,
        points=2,
        extractors={},
        references="r",
        reference="my statistics.npz",
    )
    changes = {
        "plugins": {"my method.py": "p"},
        "data": "photos",
        "settings": {"start": "start.safetensors"},
    }
    recipe = about().recipe.model_copy(update=changes | {"evaluation": plan})
    card = model_card(about(recipe=recipe))
    assert "bench sample FOLDER -n 64 -o grid.png --plugin 'my method.py'\n" in card
    again = eval_command(plan, recipe.plugins)
    assert shlex.split(again)[-4:] == ["--reference", "my statistics.npz", "--plugin", "my method.py"]
    assert (
        "repeats the run, once these are put into the folder where it is called: `my method.py`, `photos`, "
        "`start.safetensors`, `my statistics.npz`."
    ) in card
    digits = about().recipe.model_copy(update={"data": "digits"})
    assert "`bench run --recipe recipe.yaml` repeats the run.\n" in model_card(about(recipe=digits))
