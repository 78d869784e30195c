"""A batch in parts gives the weights that the whole batch gives: every image keeps its random numbers, and
nothing that depends on several images is lost.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench import environment
from bench.errors import BenchError, UsageError
from bench.files.tensors import load_sealed, save_sealed
from bench.plugin import Batch
from bench.plugin.batch import WholeBatchNeeded
from bench.plugin.dropout import Dropout, SameUnits
from bench.runs.recipe import make_request
from bench.training import estimate, real_images
from bench.training.job import make_job
from bench.training.parts import RowsOfWhole, parts_of, randomness_of
from bench.training.trainer import Trainer
from tests.helpers.trainers import CPU, TRAINED, make_trainer, trainer_for

GROUPS = {"sida": {"micro_batch": 8}, "sid2a": {"micro_batch": 8}}


@pytest.fixture
def in_float64(monkeypatch):
    """Train in float64, in which a rounding error stays small even where a discriminator amplifies it."""
    from_uint8 = real_images.from_uint8
    monkeypatch.setattr(real_images, "from_uint8", lambda pixels: from_uint8(pixels).double())

    def trained(method: str, settings: dict[str, object], batch_gpu: int | None) -> Trainer:
        asked = settings | GROUPS.get(method, {}) | {"batch": 32}
        job = make_job(
            make_request(method=method, teacher="edm-digits", budget="images=10k", settings=asked)
        )
        torch.set_default_dtype(torch.float64)
        job.teacher.denoiser.double()
        trainer = trainer_for(job, CPU)
        trainer.execution.batch_gpu = batch_gpu
        if trainer.pairs is not None:
            trainer.pairs.z, trainer.pairs.images = (
                trainer.pairs.z.double(),
                trainer.pairs.images.double(),
            )
        for _ in range(20):
            trainer.iteration()
        torch.set_default_dtype(torch.float32)
        return trainer

    yield trained
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("method", "settings"), [*TRAINED, ("sid", {"dropout": 0.2})])
def test_a_batch_in_four_parts_trains_as_the_whole_does(in_float64, method, settings):
    """After 20 updates: equal weights and losses but for rounding, and equal ledgers."""
    whole, parts = in_float64(method, settings, None), in_float64(method, settings, 8)
    for one, other in zip(
        whole.method.generator.parameters(), parts.method.generator.parameters(), strict=True
    ):
        assert (one - other).norm() <= 1e-8 * one.norm().clamp_min(1)
    assert parts.ledger == whole.ledger
    assert parts.curve_values() == pytest.approx(whole.curve_values(), rel=1e-6, abs=1e-6)
    for name, tensor in whole.state()[0].items():
        if name.startswith("random"):
            assert torch.equal(tensor, parts.state()[0][name])


def test_f_distill_moves_its_mean_ratios_once_an_update():
    trainer = make_trainer("f-distill", batch=32, ratio_memory=0.5)
    trainer.execution.batch_gpu = 8
    before = trainer.method.head.mean_ratios.clone()
    trainer.iteration()
    after = trainer.method.head.mean_ratios
    moved = after != before
    assert moved.any()
    # An untrained head is near 1 everywhere: half of the way once, and not four times.
    alone = make_trainer("f-distill", batch=32, ratio_memory=0.5)
    alone.iteration()
    torch.testing.assert_close(after, alone.method.head.mean_ratios)


@given(rows=st.integers(1, 7), first=st.integers(0, 5))
def test_every_way_of_drawing_for_images_gives_the_rows_of_the_whole(rows, first):
    batch = first + rows + 2
    part = range(first, first + rows)

    def draws(n: int) -> list[torch.Tensor]:
        x = torch.zeros(n, 2, 3)
        return [
            torch.rand(n),
            torch.rand((n, 3)),
            torch.randn(n, 2, 3),
            torch.randn(size=(n, 4), dtype=torch.float64),
            torch.randn([n, 1]),
            torch.randint(10, (n,)),
            torch.randint(2, 10, (n, 2)),
            torch.randint(low=0, high=5, size=(n,)),
            torch.randn_like(x),
            torch.rand_like(x),
            torch.randint_like(x, 7),
            torch.empty(n, 3).normal_(),
            torch.empty(n).uniform_(2, 3),
            torch.empty(n, 2).log_normal_(),
            torch.randn_like(torch.zeros(n, 4, 2, 2).to(memory_format=torch.channels_last)),
            Dropout(0.5).train()(torch.ones(n, 50)),
        ]

    torch.manual_seed(0)
    whole = draws(batch)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    with randomness_of(part, batch, CPU, moves_on=True):
        own = draws(rows)
    for expected, found in zip(whole, own, strict=True):
        assert torch.equal(expected[first : first + rows], found)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_not_for_images_and_private_generators_are_left_alone():
    def draws() -> list[torch.Tensor]:
        own = torch.Generator().manual_seed(1)
        return [torch.randn(3), torch.randn(4, generator=own), torch.zeros(2, 4).normal_()]

    torch.manual_seed(0)
    plain = draws()
    torch.manual_seed(0)
    with RowsOfWhole(range(2, 6), 8):
        within = draws()
    assert all(torch.equal(a, b) for a, b in zip(plain, within, strict=True))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.bernoulli(torch.full((2,), 0.5)),
        lambda: torch.normal(torch.zeros(2), 1.0),
        lambda: torch.distributions.Normal(torch.zeros(2), 1.0).sample(),
        lambda: torch.randperm(2),
        lambda: torch.multinomial(torch.ones(3), 2),
        lambda: nn.Dropout(0.5)(torch.ones(2, 3)),
    ],
)
def test_what_cannot_be_drawn_for_a_part_is_refused_and_not_repeated_in_every_part(draw):
    with (
        pytest.raises(BenchError, match=r"a loss draws by .*, of which a part"),
        RowsOfWhole(range(2), 4),
    ):
        draw()
    with RowsOfWhole(range(2), 4):
        nn.Dropout(0.5).eval()(torch.ones(2, 3))
        nn.Dropout(0.0)(torch.ones(2, 3))


@pytest.mark.parametrize(("method", "settings"), TRAINED)
def test_parts_continue_from_a_checkpoint_and_so_does_the_whole(method, settings, tmp_path):
    """To other parts than those that were saved, too."""
    asked = settings | GROUPS.get(method, {}) | {"batch": 32}
    stopped = make_trainer(method, **asked)
    stopped.execution.batch_gpu = 16
    stopped.iteration()
    stopped.iteration()
    save_sealed(tmp_path / "state.safetensors", *stopped.state())
    stopped.iteration()
    for batch_gpu in (16, 8, None):
        continued = make_trainer(method, **asked)
        continued.execution.batch_gpu = batch_gpu
        continued.restore(*load_sealed(tmp_path / "state.safetensors"))
        continued.iteration()
        assert continued.ledger == stopped.ledger
        pairs = zip(
            stopped.method.generator.parameters(), continued.method.generator.parameters(), strict=True
        )
        exact = batch_gpu == 16
        assert all(torch.equal(a, b) if exact else (a - b).norm() <= 1e-2 * a.norm() for a, b in pairs)


def test_numbers_of_a_step_before_are_not_those_of_this_one():
    """A step that reuses a batch asks for itself."""
    trainer = make_trainer("f-distill", batch=32)
    trainer.execution.batch_gpu = 8
    asked = []
    gather = trainer._gather
    trainer._gather = lambda step, batch: (
        asked.append([p.gathered for p in batch]) or gather(step, batch)
    )
    for _ in range(3):
        trainer.iteration()
    assert asked == [[None] * 4] * 3


def test_a_failing_part_leaves_the_random_state_as_it_was():
    before = torch.get_rng_state()
    with (
        pytest.raises(ZeroDivisionError),
        randomness_of(range(2), 4, CPU, moves_on=True),
    ):
        assert 1 / (len(torch.randn(2)) - 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_parts_cover_a_batch_and_cut_between_groups_alone():
    assert parts_of(10, None) == [range(10)]
    assert parts_of(10, 4) == [range(4), range(4, 8), range(8, 10)]
    assert parts_of(32, 20, together=8) == [range(16), range(16, 32)]
    assert parts_of(32, 100, together=64) == [range(32)]
    with pytest.raises(UsageError, match="--batch-gpu 8 or more"):
        parts_of(32, 7, together=8)


def test_processes_share_a_batch_equally(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert parts_of(32, 4) == [range(16, 20), range(20, 24)]
    assert parts_of(32, None, together=8) == [range(16, 24)]
    with pytest.raises(UsageError, match="batch of 30 images does not divide among 4 processes"):
        parts_of(30, None)
    with pytest.raises(UsageError, match="in groups of 16 that depend on each other"):
        parts_of(32, None, together=16)


def test_a_whole_batch_answers_at_once_and_a_part_asks_the_others():
    numbers = torch.arange(4.0, requires_grad=True)
    (whole,) = Batch(torch.zeros(4, 1)).whole(numbers)
    assert torch.equal(whole, numbers)
    assert not whole.requires_grad  # as in parts
    part = Batch(torch.zeros(4, 1), labels=torch.eye(4)).part(range(1, 3))
    assert torch.equal(part.labels, torch.eye(4)[1:3])
    with pytest.raises(WholeBatchNeeded):
        part.whole(numbers[1:3])
    part.gathered = (numbers,)
    assert part.whole(numbers[1:3]) == (numbers,)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_of_the_units_independently(p):
    torch.manual_seed(0)
    dropped = Dropout(p).train()(torch.ones(500, 2000)) == 0
    share = dropped.double().mean()
    assert abs(share - p) < 5 * (p * (1 - p) / 1e6) ** 0.5
    # Images and units are uncorrelated: the mean over a row or a column varies as that of coins.
    for dim in (0, 1):
        count = dropped.shape[dim]
        variance = dropped.double().mean(dim).var() / (p * (1 - p) / count)
        assert abs(variance - 1) < 0.35
    pairs = dropped[:, 1:].double() * dropped[:, :-1].double()
    assert abs(pairs.mean() - p * p) < 6 * (p * p / 1e6) ** 0.5


def test_dropout_keeps_the_mean_and_differs_from_call_to_call():
    x = torch.full((4, 10_000), 3.0)
    layer = Dropout(0.25).train()
    first, second = layer(x), layer(x)
    assert first.mean() == pytest.approx(3, rel=0.02)
    assert set(first.unique().tolist()) == {0.0, 4.0}
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)
    assert isinstance(layer, nn.Dropout)


def test_passes_in_one_context_drop_the_same_units_and_others_do_not():
    network = nn.Sequential(Dropout(0.5), Dropout(0.5)).train()
    x, same = torch.ones(4, 1000), SameUnits()
    with same:
        first = network(x)
    with same:
        second = network(x)
    with same, torch.no_grad():
        third = network(x)
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    assert not torch.equal(first, network(x))
    with SameUnits():
        assert not torch.equal(first, network(x))


@pytest.mark.parametrize(
    ("room", "settings", "method", "expected"),
    [
        (40, {}, "sid", 37),  # seven parts of 256 images, of one size but for the last
        (256, {}, "sid", 256),
        (1, {}, "sid", 1),
        (70, {"micro_batch": 32}, "sida", 64),
        (40, {"micro_batch": 32}, "sida", 32),
    ],
)
def test_auto_takes_as_many_images_as_fit_by_the_line_through_two(
    monkeypatch, room, settings, method, expected
):
    """A network that takes 100 MB and 10 MB an image, and a device with room for so many."""
    images = (1, 3) if method == "sid" else (32, 64)
    peaks = iter([100e6 + 10e6 * n for n in images])
    monkeypatch.setattr(environment, "is_large", lambda network: True)
    monkeypatch.setattr(environment, "peak_memory", lambda device: next(peaks))
    monkeypatch.setattr(
        environment, "free_memory", lambda device: (100e6 + 10e6 * room + 5e6) / estimate.FILLED
    )
    notes = []
    job = make_job(
        make_request(
            method=method,
            teacher="edm-digits",
            budget="images=10k",
            settings={"batch": 256} | settings,
            batch_gpu="auto",
        )
    )
    assert estimate.images_at_once(job, job.budget, lambda event: notes.append(event.text)) == expected
    assert notes == [f"--batch-gpu auto: {expected} of 256 images at once, by an estimate of the memory"]


def test_a_memory_that_holds_not_one_image_is_refused(monkeypatch):
    peaks = iter([110e6, 130e6])
    monkeypatch.setattr(environment, "is_large", lambda network: True)
    monkeypatch.setattr(environment, "peak_memory", lambda device: next(peaks))
    monkeypatch.setattr(environment, "free_memory", lambda device: 50e6)
    job = make_job(
        make_request(method="sid", teacher="edm-digits", budget="images=10k", batch_gpu="auto")
    )
    with pytest.raises(UsageError, match="does not hold 1 images at once; use a larger one"):
        estimate.images_at_once(job, job.budget)


def test_a_small_network_takes_the_whole_batch():
    job = make_job(
        make_request(method="sid", teacher="edm-digits", budget="images=10k", batch_gpu="auto")
    )
    assert estimate.images_at_once(job, job.budget) is None
