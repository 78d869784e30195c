"""The claims of SiD's paper on runs whose curves are known in closed form."""

from __future__ import annotations

import math

import pytest

from bench.ranking.claims.examination import examine
from bench.runs.record import Record
from tests.helpers.records import record

FLOPS = 64_000
POINTS = [FLOPS // 64 * 2**k for k in range(7)]


def trained(method: str, seed: int, fid, images_per_flop: float = 1.0, **facts) -> Record:
    """A run whose FID is a function of its FLOPs; updates are in proportion to images, seconds to FLOPs."""
    curve, last = [(flops, fid(flops)) for flops in POINTS[:-1]], fid(POINTS[-1])
    facts = {"replicates": [last, last * 1.01, last * 0.99], **facts}
    made = record(method, seed, last, curve=curve, flops=FLOPS, **facts)
    for point in made.evaluations:
        point.images = round(point.flops * images_per_flop)
        point.updates, point.seconds = max(1, point.images // 100), point.flops / 1000
    return made


def power(constant: float, slope: float = -0.7):
    return lambda flops: constant * flops**slope


def seeds(method: str, constant: float, slope: float = -0.7, count: int = 3, **facts) -> list[Record]:
    """Runs on one power law whose constants scatter by two percent."""
    return [
        trained(method, seed, power(constant * (1 + 0.02 * seed), slope), **facts)
        for seed in range(count)
    ]


def teacher(fid: float) -> Record:
    return record("teacher", 0, fid, nfe=35, replicates=[fid, fid * 1.01, fid * 0.99])


END = power(4000)(FLOPS)
"""FID at the end of the runs of constant 4000."""


def findings(records) -> dict:
    (found,) = examine(records, ["edm-digits"])
    return {finding.claim.name: finding for finding in found.findings}


def verdicts(records) -> dict[str, str]:
    return {name: finding.verdict for name, finding in findings(records).items()}


def test_runs_on_a_power_law_have_its_slope_and_are_no_exponential():
    slopes = {"sid": -0.7, "dmd": -0.5, "kd": -0.9}
    found = findings(
        [
            trained(m, s, power(4000, slope * (1 + 1e-4 * s)))
            for m, slope in slopes.items()
            for s in range(3)
        ]
    )
    own, *others = found["power-law"].measurements
    assert own.slope == pytest.approx(-0.7, abs=1e-4)
    assert own.r2 == pytest.approx(1) and own.images == (POINTS[0], POINTS[-1])
    assert own.continued.estimate == pytest.approx(1, abs=1e-3)
    assert own.interval == pytest.approx((-0.7, -0.7), abs=1e-3)
    assert {row.method: row.steeper for row in others} == {"dmd": "worse", "kd": "better"}
    assert {row.method: row.slope for row in others} == pytest.approx(
        {"dmd": -0.5, "kd": -0.9}, abs=1e-4
    )
    assert found["power-law"].verdict == "supported"
    assert found["exponential"].verdict == "contradicted"


def test_runs_on_an_exponential_are_told_from_a_power_law():
    runs = [
        trained("sid", s, lambda flops, s=s: 50 * (1 + 0.02 * s) * math.exp(-flops / 10_000))
        for s in (0, 1, 2)
    ]
    found = findings(runs)
    assert found["exponential"].verdict == "supported"
    assert found["power-law"].measurements[0].exponential_r2 == pytest.approx(1)


def test_a_curve_that_ends_at_a_floor_does_not_continue_its_line():
    runs = [
        trained("sid", s, lambda flops, s=s: max(power(4000)(flops), 3 + 0.01 * s)) for s in (0, 1, 2)
    ]
    finding = findings(runs)["power-law"]
    assert finding.verdict == "contradicted"
    floor, promised = finding.measurements[0].continued.estimate, 3.01 / END
    assert floor == pytest.approx(promised, rel=0.01)


def test_a_curve_that_does_not_fall_contradicts_and_one_that_may_not_fall_is_open():
    assert verdicts(seeds("sid", 4, 0.3))["power-law"] == "contradicted"
    scattered = [trained("sid", s, power(4000, slope)) for s, slope in enumerate((-0.9, -0.1, 0.3))]
    assert verdicts(scattered)["power-law"] == "open"


def test_without_runs_seeds_or_points_every_claim_that_needs_them_is_open_and_says_what_to_run():
    for records in ([], [teacher(2.0)], seeds("dmd", 4000)):
        found = findings(records)
        assert {finding.verdict for finding in found.values()} == {"open"}
        for finding in found.values():
            assert "bench compare --methods sid --teacher edm-digits" in finding.reason
    alone = findings([*seeds("sid", 4000, count=1), teacher(END)])
    assert {n: f.verdict for n, f in alone.items() if n != "data-free"} == dict.fromkeys(
        set(alone) - {"data-free"}, "open"
    )
    assert "--seeds 5" in alone["power-law"].reason and "--seeds 5" in alone["teacher"].reason
    pointless = [record("sid", seed, 2.0) for seed in (0, 1, 2)]
    assert verdicts(pointless)["power-law"] == verdicts(pointless)["axes"] == "open"
    assert "--eval-points" in findings(pointless)["exponential"].reason


@pytest.mark.parametrize(
    ("teachers", "verdict", "against"),
    [
        (2 * END, "supported", "better"),
        (END, "supported", "open"),
        (END / 2, "contradicted", "worse"),
        (END / 1.19, "open", "worse"),
    ],
)
def test_one_step_against_the_teacher(teachers, verdict, against):
    finding = findings([*seeds("sid", 4000), teacher(teachers)])["teacher"]
    own = finding.measurements[0]
    assert (finding.verdict, own.against_teacher) == (verdict, against)
    assert own.ratio.estimate == pytest.approx(END / teachers, rel=0.03)
    assert own.ratio.low < own.ratio.estimate < own.ratio.high


def test_images_and_operations_to_multiples_of_the_teacher():
    runs = [*seeds("sid", 4000, images_per_flop=0.5), teacher(END * 2)]
    own = findings(runs)["teacher"].measurements[0]
    for times in (1, 2):  # of the seed in the middle, on its line
        flops = (1.02 / (2 * times)) ** (1 / 0.7) * FLOPS
        assert own.reached[str(times)]["flops"].cost == pytest.approx(flops, rel=1e-3)
        assert own.reached[str(times)]["images"].cost == pytest.approx(flops / 2, rel=1e-3)


def test_several_steps_are_not_one():
    several = [*seeds("sid", 4000, nfe=2), teacher(END * 2)]
    assert verdicts(several)["teacher"] == "contradicted"


def test_data_is_what_the_records_say_was_required():
    rivals = [*seeds("dmd", 4000, requires=["TeacherPairs"]), *seeds("diff-instruct", 9000)]
    finding = findings([*seeds("sid", 4000), *rivals])["data-free"]
    assert finding.verdict == "supported"
    assert "dmd needed data" in finding.reason and "diff-instruct" not in finding.reason
    needy = findings([*seeds("sid", 4000, requires=["RealImages"]), *rivals])["data-free"]
    assert needy.verdict == "contradicted" and "real images" in needy.reason


def test_the_rivals_at_matched_compute():
    def judged(diff_instruct: float, dmd: float):
        return findings(
            [*seeds("sid", 4000), *seeds("diff-instruct", diff_instruct), *seeds("dmd", dmd)]
        )["matched-compute"]

    assert judged(8000, 7000).verdict == "supported"
    assert judged(8000, 2000).verdict == "contradicted"
    assert judged(8000, 4000).verdict == "open"
    rows = {row.method: row for row in judged(8000, 2000).measurements}
    assert rows["diff-instruct"].ratio.estimate == pytest.approx(0.5)
    assert (rows["diff-instruct"].subject_is, rows["dmd"].subject_is) == ("better", "worse")


def test_a_rival_that_is_missing_or_has_another_budget_leaves_the_comparison_open():
    other = seeds("dmd", 8000)
    for run in other:
        run.recipe.budget = "flops=1000"
    finding = findings([*seeds("sid", 4000), *seeds("diff-instruct", 8000), *other])["matched-compute"]
    assert finding.verdict == "open"
    assert (
        "`bench compare --methods dmd --teacher edm-digits --budget flops=64k --seeds 0,1,2`"
        in finding.reason
    )
    assert [row.method for row in finding.measurements] == ["sid", "diff-instruct"]
    assert "dmd" in finding.notes[-1]


def test_lost_seeds_stand_beside_the_numbers():
    lost = [*seeds("dmd", 8000), trained("dmd", 3, power(80_000))]
    rows = findings([*seeds("sid", 4000), *lost])["matched-compute"].measurements
    assert {row.method: row.kept for row in rows} == {"sid": "3/3", "dmd": "3/4"}


def with_alpha(value: float, constant: float, **facts) -> list[Record]:
    runs = seeds("sid", constant, settings={"alpha": value, "lr": 1.0}, **facts)
    for run in runs:
        run.sources = {"alpha": "paper", "lr": "paper"}
    return runs


@pytest.mark.parametrize(
    ("first", "verdict"), [(2000, "supported"), (8000, "contradicted"), (4000, "open")]
)
def test_alpha_by_rows_that_differ_in_nothing_else(first, verdict):
    other = seeds("sid", 100, settings={"alpha": 1.2, "lr": 9.0})  # of another learning rate
    finding = findings([*with_alpha(1.0, 4000), *with_alpha(1.2, first), *with_alpha(0.5, 4000), *other])
    rows = finding["alpha"].measurements
    assert finding["alpha"].verdict == verdict
    assert [row.alpha for row in rows] == [0.5, 1.0, 1.2]
    assert rows[-1].ratio.estimate == pytest.approx(first / 4000)


@pytest.mark.parametrize(("there", "missing"), [(1.0, "1.2"), (1.2, "1")])
def test_a_missing_alpha_is_the_command_that_makes_it(there, missing):
    finding = findings(with_alpha(there, 4000))["alpha"]
    assert finding.verdict == "open"
    assert finding.reason.count("bench compare") == 1
    assert f"--seeds 0,1,2 --set alpha={missing}`" in finding.reason


def test_two_methods_that_change_places_between_operations_and_images():
    """At equal FLOPs DMD is 1.5 times as bad; with four times the FLOPs an image it is ahead by images."""
    swapped = [*seeds("sid", 4000), *seeds("dmd", 6000, images_per_flop=0.25), *seeds("kd", 90_000)]
    finding = findings(swapped)["axes"]
    places = {row.method: dict(row.place) for row in finding.measurements}
    assert finding.verdict == "contradicted"
    assert places["sid"] == {"flops": 1, "images": 2, "seconds": 1, "updates": 2}
    assert places["dmd"] == {"flops": 2, "images": 1, "seconds": 2, "updates": 1}
    assert set(places["kd"].values()) == {3}
    assert "sid is better than dmd by flops, and worse by images and updates" in finding.reason
    sid = finding.measurements[0].fid
    middle = power(4000 * (1 * 1.02 * 1.04) ** (1 / 3))
    assert sid["flops"] == pytest.approx(middle(FLOPS))
    assert sid["images"] == pytest.approx(middle(FLOPS / 4), rel=1e-3)


def test_places_that_hold_on_all_axes_and_places_that_seeds_leave_open():
    assert verdicts([*seeds("sid", 4000), *seeds("dmd", 9000)])["axes"] == "supported"
    assert verdicts([*seeds("sid", 4000), *seeds("dmd", 9000, count=1)])["axes"] == "open"
    near = [*seeds("sid", 4000), *seeds("dmd", 4040, images_per_flop=0.9)]
    finding = findings(near)["axes"]
    assert finding.verdict == "open"
    assert [dict(row.place)["images"] for row in finding.measurements] == [2, 1]
    assert "no two methods are told apart in opposite orders" in finding.reason


def test_what_was_not_measured_early_enough_has_no_place():
    late = seeds("pd", 9000)
    for run in late:
        for point in run.evaluations[:-1]:
            point.nfe = 2
        run.evaluations[-1].flops = 10 * FLOPS
    finding = findings([*seeds("sid", 4000), *seeds("dmd", 9000), *late])["axes"]
    rows = {row.method: row.place["flops"] for row in finding.measurements}
    assert rows == {"sid": 1, "dmd": 2, "pd": None}
