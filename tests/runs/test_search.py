"""Search spaces: what is drawn lies inside, is drawn alike again, and a mistaken space is a sentence."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench import registry
from bench.errors import UsageError
from bench.runs.search import Range, combinations, distinct, drawn, parse_range, require_sound
from bench.settings import card

OF_SIZE = {"batch", "lr", "pairs", "stage_images", "warmup_images", "sid_share"}
"""Settings whose published values suit networks, budgets and data of another size."""

bounds = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(bounds, bounds, st.integers(0, 9_999))
def test_a_number_lies_in_its_range_and_is_drawn_alike_again(a, b, trial):
    low, high = sorted((a, b))
    if low == high:
        with pytest.raises(ValidationError, match="low below high"):
            Range(low=low, high=high)
        return
    space = {"x": Range(low=low, high=high), "y": Range(values=["p", "q"])}
    assert not space["x"].whole
    chosen = drawn(space, "mine", trial)
    assert low <= chosen["x"] <= high
    assert chosen["y"] in ("p", "q")
    assert chosen == drawn(space, "mine", trial)


def test_numbers_above_zero_are_even_in_their_logarithm():
    values = [drawn({"lr": Range(low=1e-4, high=1e-2)}, "sid", k)["lr"] for k in range(2_000)]
    below = sum(value < 1e-3 for value in values) / len(values)
    assert 0.45 < below < 0.55  # half of them below the middle decade; evenly it would be a tenth


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("batch=32..512", int),
        ("fake_updates=1..5", int),
        ("skipped=0..3", int),
        ("guidance=2.0..4.0", float),
        ("lr=1e1..1e2", float),
        ("guidance=2..4.5", float),
    ],
)
def test_numbers_are_whole_where_both_bounds_are_written_so(text, kind):
    name, of = parse_range(text)
    values = [drawn({name: of}, "sid", k)[name] for k in range(200)]
    assert {type(value) for value in values} == {kind}
    assert of.low <= min(values) <= max(values) <= of.high
    if kind is int and of.high < 10:
        assert set(values) == set(range(int(of.low), int(of.high) + 1))


def test_a_range_of_whole_numbers_has_them_as_bounds():
    assert Range.model_validate({"low": 1, "high": 5}).whole  # as YAML reads them
    again = Range(low=1, high=5).model_dump(exclude_defaults=True)
    assert Range.model_validate(again).whole
    with pytest.raises(ValidationError, match="whole numbers as bounds"):
        Range(low=1.5, high=5, whole=True)


def test_trials_differ_and_a_multiple_is_of_what_was_drawn():
    space = {"lr": Range(values=[1e-3, 2e-3]), "fake_lr": Range(values=[0.5, 2.0], times="lr")}
    trials = [drawn(space, "sid", k) for k in range(64)]
    assert {(t["lr"], t["fake_lr"] / t["lr"]) for t in trials} == set(
        itertools.product([1e-3, 2e-3], [0.5, 2.0])
    )
    assert len(combinations(space)) == 4
    assert {t["fake_lr"] for t in combinations(space)} == {5e-4, 1e-3, 2e-3, 4e-3}


def test_no_choice_is_drawn_twice_and_more_trials_begin_with_the_same():
    space = {"lr": Range(values=[1e-3, 2e-3]), "alpha": Range(values=[1, 1.2])}
    four = distinct(space, "sid", 4)
    assert len({str(choice) for choice in four}) == 4
    assert distinct(space, "sid", 2) == four[:2]
    assert distinct(space, "sid", 9) == four  # there are no more
    assert distinct(space, "sid", 9, [{"lr": 1e-3, "alpha": 1.0}]) == [
        choice for choice in four if choice != {"lr": 1e-3, "alpha": 1}
    ]


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("alpha=1.0,1.2", {"values": [1.0, 1.2]}),
        ("lr=1e-4..1e-2", {"low": 1e-4, "high": 1e-2}),
        ("distance=l1,l2", {"values": ["l1", "l2"]}),
        ("augment=true", {"values": [True]}),
    ],
)
def test_a_range_is_read_from_the_command_line(text, of):
    name, read = parse_range(text)
    assert name == text.partition("=")[0]
    assert read.model_dump(exclude_defaults=True) == of


@pytest.mark.parametrize("text", ["", "lr", "lr=", "=1,2", "lr=a..b", "x=[1", "alpha=1.0,", "alpha=,1"])
def test_what_is_no_range_is_a_sentence(text):
    with pytest.raises(UsageError, match="neither a list of values nor a range of numbers"):
        parse_range(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("lr=1e-2..1e-4", "expected low below high"),
        ("lr=nan..1", "finite"),
        ("lr=1..1", "low below high"),
    ],
)
def test_a_range_that_cannot_be_says_why(text, why):
    with pytest.raises(UsageError, match=why):
        parse_range(text)


def test_a_space_that_cannot_be_is_a_sentence():
    with pytest.raises(UsageError, match="names no setting"):
        require_sound({}, "the space")
    with pytest.raises(UsageError, match="multiple of 'lr', expected another setting"):
        require_sound({"fake_lr": Range(values=[1.0], times="lr")}, "the space")
    with pytest.raises(UsageError, match="a grid needs the values of lr"):
        combinations({"lr": Range(low=1e-4, high=1e-2)})


@pytest.mark.parametrize("name", [n for n in registry.methods.entries() if n != "teacher"])
def test_published_values_lie_inside_the_space_of_every_method(name):
    """Each method has a chance to be what its authors made it."""
    own = card(registry.methods.get(name))
    published = {setting: value.value for setting, value in own.defaults.items()}
    for teacher, space in own.search.items():
        require_sound(space, f"the space of {name} for {teacher}")
        assert all(of.reason for of in space.values())
        for setting, of in space.items():
            if setting not in OF_SIZE:
                value = published[setting] / published[of.times] if of.times else published[setting]
                assert of.holds(value), setting
    assert {"batch", "lr", "lr_decay", "beta1"} < {*own.search["edm-digits"]}
