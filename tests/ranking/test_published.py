"""The published numbers: whole, sourced, and the same where this suite states them elsewhere."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from bench import registry
from bench.ranking.published import PublishedNumbers, published
from bench.render.tables.bibtex import bibtex
from bench.settings import card


def results(**facts):
    return [
        r for r in published().results if all(getattr(r, name) == value for name, value in facts.items())
    ]


def test_every_row_has_a_source_and_a_number_that_was_seen_somewhere():
    data = published()
    assert {r.source for r in data.results} == set(data.sources)  # and no source is left over
    for row in data.results:
        assert row.fid is not None or not row.verified
    assert len({(r.method, r.label, r.variant, r.dataset, r.nfe, r.kind) for r in data.results}) == len(
        data.results
    )


def test_data_sets_are_those_of_this_suites_teachers():
    teachers = set(registry.teachers.entries())
    data = published()
    assert {t for names in data.datasets.values() for t in names} <= teachers
    assert data.shown_under(["edm-digits", "edm-ffhq64-ve", "edm-cifar10"]) == {
        "cifar10-uncond": "edm-cifar10",
        "ffhq64": "edm-ffhq64-ve",
    }


def test_the_teachers_own_numbers_are_those_of_their_cards():
    for name, dataset in (
        ("edm-cifar10", "cifar10-uncond"),
        ("edm-cifar10-cond", "cifar10-cond"),
        ("edm-ffhq64", "ffhq64"),
        ("edm-afhqv2", "afhqv2-64"),
    ):
        stated = registry.teachers.get(name).published
        (row,) = results(method="edm-heun", dataset=dataset)
        assert (row.fid, row.nfe) == (stated.fid, stated.nfe)


def test_what_a_method_needs_is_what_this_suite_says_it_needs():
    """DMD with its regression, and distillation by pairs, train on what the teacher made beforehand."""
    assert all(
        not r.data_free and r.teacher_samples
        for r in results(method="kd") + results(method="dmd", label="DMD")
    )
    assert all(
        r.data_free
        for r in results(method="dmd", label="DMD without regression") + results(method="sid")
    )
    for method in ("sida", "dmd2"):
        assert not any(r.data_free for r in results(method=method) if "without GAN" not in r.label)


@pytest.mark.parametrize("method", sorted(registry.methods.entries()))
def test_a_methods_own_card_and_the_survey_name_one_paper_by_one_key(method):
    found = card(registry.methods.get(method))
    key, title = (
        re.search(r"\{(\w+),", found.bibtex)[1],
        re.search(r"title\s*= \{(.*)\}", found.bibtex)[1],
    )
    source = published().sources[key]
    assert source.title.lower() == title.lower()


def test_a_source_is_a_bibtex_entry_with_its_special_characters_escaped():
    for key, source in published().sources.items():
        entry = bibtex(key, source)
        assert re.fullmatch(r"@(inproceedings|misc)\{\w+,\n(  \w+ += \{.*\},?\n)+\}", entry)
        assert entry.count("{") == entry.count("}")
    source = next(iter(published().sources.values())).model_copy(
        update={"title": "A & B: 50% of $x_1$ #2"}
    )
    assert r"A \& B: 50\% of \$x\_1\$ \#2" in bibtex("k", source)


@pytest.mark.parametrize(
    "change",
    [
        {"fid": -1},
        {"fid": float("inf")},
        {"verified": True, "seen_in": []},
        {"source": "nobody"},
        {"dataset": "none"},
        {"fidd": 1},
        {"nfe": 0},
    ],
)
def test_a_row_that_does_not_hold_together_is_refused(change):
    row = {
        "method": "sid",
        "label": "SiD",
        "kind": "distillation",
        "dataset": "d",
        "nfe": 1,
        "fid": 2.0,
        "source": "s",
    }
    row |= {"verified": True, "seen_in": ["README"]}
    whole = {
        "datasets": {"d": ["t"]},
        "cautions": [],
        "sources": {"s": {"title": "T", "year": 2024}},
        "results": [row],
    }
    PublishedNumbers.model_validate(whole)
    with pytest.raises(ValidationError):
        PublishedNumbers.model_validate(whole | {"results": [row | change]})
