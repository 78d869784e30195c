"""A subclass of a method has the recipes of its parent, and a new teacher those of one that it resembles."""

from __future__ import annotations

import pytest

from bench import registry
from bench.settings import card_files, choose_settings, recommended, search_space
from tests.helpers.plugins import plugin


def digits_lr() -> float:
    """SiD's learning rate on the digits, as its card has it."""
    return choose_settings(registry.methods.get("sid"), "edm-digits", {}).settings.lr


CHILD = '''
from bench import registry
from bench.plugin import register_method

SiD = registry.methods.get("sid")

@register_method("child")
class Child(SiD):
    """SiD, almost."""

    class Settings(SiD.Settings):
        {settings}
'''
TEACHER = '''
from bench import registry
from bench.plugin import register_teacher

@register_teacher("mine")
class Mine(registry.teachers.get("edm-digits")):
    """The digits' teacher by another name."""

    {like}
'''
LIKE = 'recipes_like = "edm-digits"'


@pytest.fixture
def child(tmp_path):
    """Make a subclass of SiD with a body of settings and a card, and choose its settings."""

    def choose(settings: str = "pass", card: str = "", teacher: str = "edm-digits", **overrides):
        (tmp_path / "child.yaml").write_text(card)
        registry.load_plugin(plugin(tmp_path, CHILD.format(settings=settings), "child.py"))
        return choose_settings(registry.methods.get("child"), teacher, overrides)

    return choose


@pytest.fixture
def mine(tmp_path):
    """Register a teacher with a card, and choose the settings of a method for it."""

    def choose(like: str = LIKE, card: str = "", method: str = "sid", budget: str | None = None):
        (tmp_path / "mine.yaml").write_text(card)
        registry.load_plugin(plugin(tmp_path, TEACHER.format(like=like or "pass"), "mine.py"))
        return choose_settings(registry.methods.get(method), "mine", {}, budget)

    return choose


def test_a_subclass_has_the_settings_budget_and_sources_of_its_parent(child):
    for teacher in ("edm-digits", "edm-cifar10", "gaussian"):
        parent, own = choose_settings(registry.methods.get("sid"), teacher, {}), child(teacher=teacher)
        assert own.settings.model_dump() == parent.settings.model_dump()
        assert (own.budget, own.note, own.tuning) == (parent.budget, "", {})
        assert own.sources["lr"] == f"inherited from SiD: {parent.sources['lr']}"


def test_a_default_that_a_subclass_states_anew_wins_over_its_parents_card(child):
    chosen = child("alpha: float = 0.5")
    assert (chosen.settings.alpha, chosen.sources["alpha"]) == (0.5, "default in the code")
    assert chosen.settings.lr == digits_lr()


def test_a_field_that_a_subclass_only_narrows_keeps_its_parents_value(child):
    narrowed = "from pydantic import Field\n        alpha: float = Field(gt=0, description='weight')"
    assert child(narrowed).settings.alpha == 1.0


def test_the_card_of_a_subclass_wins_over_its_code_and_over_all_of_its_parents_card(child):
    chosen = child("alpha: float = 0.5", "defaults:\n  alpha: {value: 0.7, source: tried here}\n")
    assert (chosen.settings.alpha, chosen.sources["alpha"]) == (0.7, "tried here")
    assert child(alpha=0.9).settings.alpha == 0.9


def test_a_card_for_the_subclass_alone_may_add_its_settings(child):
    text = "teachers:\n  edm-digits:\n    warmup: {value: 7, source: tried here}\n"
    assert child("warmup: int = 0", text).settings.warmup == 7


def test_a_teacher_that_resembles_another_has_its_recipe_of_every_method(mine):
    for method in ("sid", "dmd2", "kd"):
        like, own = choose_settings(registry.methods.get(method), "edm-digits", {}), mine(method=method)
        assert own.settings.model_dump() == like.settings.model_dump()
        assert (own.budget, own.note, own.tuning) == (like.budget, "", {})
    assert own.sources["lr"].startswith("as for edm-digits: tuned here")


def test_a_teachers_card_has_what_differs_for_one_method_or_for_all(mine, bench, tmp_path):
    card = """
methods:
  all:
    budget: {value: images=64k, source: quick}
    alpha: {value: 0.8, source: guessed}
  sid:
    alpha: {value: 0.9, source: tried}
"""
    chosen = mine(card=card)
    assert (chosen.budget, chosen.settings.alpha, chosen.settings.lr) == ("images=64k", 0.9, digits_lr())
    assert chosen.sources["alpha"] == "card of mine: tried"
    assert mine(card=card, method="kd").budget == "images=64k"
    facts = bench.json("show", "method", "sid", "--teacher", "mine", "--plugin", tmp_path / "mine.py")
    assert facts["teacher"] == "mine"
    assert facts["settings"]["alpha"] == {
        "value": 0.9,
        "meaning": facts["settings"]["alpha"]["meaning"],
        "source": "card of mine: tried",
    }
    files = [file.name for file in card_files(registry.methods.get("sid"), "mine")]
    assert files[-3:] == ["sid.yaml", "digits.yaml", "mine.yaml"]


def test_a_teachers_card_speaks_to_the_subclasses_of_a_method_too(child, mine):
    child("pass")
    card = (
        "methods:\n  sid:\n    alpha: {value: 0.9, source: tried}\n    lr: {value: 1, source: tried}\n"
    )
    card += "  child:\n    lr: {value: 2, source: own}\n"
    chosen = mine(card=card, method="child")
    assert (chosen.settings.alpha, chosen.settings.lr) == (0.9, 2)
    assert chosen.sources["alpha"] == "card of mine: inherited from SiD: tried"
    assert chosen.sources["lr"] == "card of mine: own"


def test_the_effort_of_tuning_is_that_of_the_name_before_the_colon(child):
    card = "tuning:\n  diffusers:\n    runs: 12\n    note: by hand\n"
    assert child(card=card, teacher="diffusers:a/b").tuning["runs"] == 12


def test_teachers_that_resemble_each_other_have_recipes_all_the_same(mine, tmp_path):
    mine(like="")
    like = (
        TEACHER.replace('"mine"', '"near"')
        .replace("edm-digits", "mine")
        .format(like='recipes_like = "mine"')
    )
    registry.load_plugin(plugin(tmp_path, like, "near.py"))
    chosen = mine(
        like='recipes_like = "near"', card="methods:\n  sid:\n    alpha: {value: 0.9, source: x}\n"
    )
    assert chosen.settings.alpha == 0.9


def test_a_search_space_is_that_of_the_nearest_teacher(child, mine):
    card = "search:" + "".join(
        f"\n  {name}:\n    {setting}: {{values: [0.5, 1.0]}}"
        for name, setting in (("edm-digits", "alpha"), ("mine", "lr"))
    )
    child("pass", card), mine()
    own = registry.methods.get("child")
    assert [*search_space(own, "mine")] == ["lr"]
    assert [*search_space(own, "edm-digits")] == ["alpha"]


def test_a_subclass_whose_card_is_for_no_teacher_in_particular_keeps_its_parents_teachers(child):
    child(card="defaults:\n  lr: {value: 0.1, source: x}\n")
    parent = recommended(registry.methods.get("sid"), "gaussian").meant_for
    assert parent
    assert recommended(registry.methods.get("child"), "gaussian").meant_for == parent


def test_a_subclass_and_a_teacher_that_resembles_another_have_their_search_spaces(child, mine):
    child("pass"), mine()
    sid, own = registry.methods.get("sid"), registry.methods.get("child")
    expected = search_space(sid, "edm-digits")
    assert "lr" in expected
    assert search_space(own, "edm-digits") == search_space(sid, "mine") == expected
    child("pass", "search:\n  edm-digits:\n    alpha: {values: [0.5, 1.0]}\n")
    assert [*search_space(own, "mine")] == ["alpha"]
    assert search_space(own, "gaussian") == search_space(sid, "gaussian")


def test_a_new_teacher_without_recipes_gets_a_short_budget_with_a_word(mine):
    chosen = mine(like="")
    assert chosen.budget == "seconds=300"
    assert (
        "it trains for seconds=300, as its own budget is for edm-cifar10: give --budget, or"
        in chosen.note
    )
    assert "ends in minutes" in recommended(registry.methods.get("sid"), "mine").values["budget"].source
    given = mine(like="", budget="images=1k")
    assert given.budget == "images=1k"
    assert "seconds=300" not in given.note
    assert "no settings of its own for mine" in given.note


def test_a_stranger_of_the_diffusers_gets_one_too_and_a_published_teacher_the_published_budget():
    sid = registry.methods.get("sid")
    assert choose_settings(sid, "diffusers:a/b", {}).budget == "seconds=300"
    assert choose_settings(sid, "edm-cifar10-ve", {}).budget == "images=500M"


@pytest.mark.parametrize(
    ("like", "card", "sentence"),
    [
        (
            'recipes_like = "edm-digit"',
            "",
            "unknown teacher in recipes_like of 'mine': 'edm-digit'; did you",
        ),
        (
            LIKE,
            "methods:\n  sid:\n    alhpa: {value: 1, source: x}\n",
            "mine.yaml: 'alhpa'; did you mean 'alp",
        ),
        (LIKE, "like: edm-digits\n", "is not valid: like: extra inputs are not permitted"),
    ],
)
def test_a_teachers_recipes_that_do_not_hold_are_one_sentence(mine, like, card, sentence):
    with pytest.raises(Exception, match=sentence.replace(".", r"\.")) as caught:
        mine(like, card)
    assert type(caught.value).__name__ in ("UsageError", "BenchError")
