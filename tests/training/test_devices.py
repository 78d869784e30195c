"""A device has one name, and every method keeps to it, also where no GPU is at hand to show it."""

import pytest
import torch

from bench import environment
from bench.errors import UsageError
from bench.plugin.dataset import InMemory
from bench.plugin.images import ImageSpec
from bench.runs.recipe import make_request
from bench.training import real_images
from bench.training.job import make_job
from bench.training.real_images import RealStream
from tests.helpers.fake_gpu import fake_gpu
from tests.helpers.trainers import TRAINED, trainer_for

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")


@pytest.mark.parametrize(("method", "settings"), TRAINED, ids=str)
def test_every_method_updates_on_a_gpu(method, settings):
    job = make_job(
        make_request(
            method=method,
            teacher="edm-digits",
            budget="images=10k",
            settings={"batch": 8} | settings,
            device="cpu",
        )
    )
    with fake_gpu() as cuda:
        trainer = trainer_for(job, cuda)
        for _ in range(2):
            trainer.iteration()
        losses = {name: loss.device for name, loss in trainer.losses.items()}
    assert {step.role for step in trainer.steps} == {n.removeprefix("loss/") for n in losses if "/" in n}
    assert set(losses.values()) == {torch.device("cuda", 0)}


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "from files"])
@pytest.mark.parametrize("index", [None, 0, 1])
@pytest.mark.parametrize("label_dim", [0, 3])
def test_real_images_arrive_on_the_gpu(resident, index, label_dim, monkeypatch):
    monkeypatch.setattr(real_images, "RESIDENT_BYTES", 2**31 if resident else 0)
    pixels = torch.zeros(6, 3, 4, 4, dtype=torch.uint8)
    dataset = InMemory(pixels, torch.arange(6) % 3)
    with fake_gpu():
        device = torch.device("cuda", index) if index is not None else torch.device("cuda")
        stream = RealStream(dataset, ImageSpec(3, 4, label_dim), 0, device)
        for _ in range(2):
            images, labels = stream.sample(5)
            assert images.device == torch.device("cuda", index or 0)
            assert images.shape == (5, 3, 4, 4)
            if label_dim:
                assert labels.device == images.device and labels.shape == (5, label_dim)
            else:
                assert labels is None


@pytest.mark.parametrize(
    ("name", "local_rank", "expected"),
    [
        ("auto", None, "cuda:0"),
        ("cuda", None, "cuda:0"),
        ("cuda", "1", "cuda:1"),
        ("auto", "1", "cuda:1"),
        ("cuda:1", None, "cuda:1"),
        ("cpu", "1", "cpu"),
    ],
)
def test_a_device_is_chosen_with_its_number(name, local_rank, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert environment.choose_device(name) == torch.device(expected)


@pytest.mark.parametrize(("name", "local_rank"), [("cuda:2", "0"), ("cuda", "2"), ("auto", "5")])
def test_a_gpu_that_is_not_there_is_refused(name, local_rank, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    with pytest.raises(UsageError, match="is not there, torch sees 2 GPUs; use --device cpu"):
        environment.choose_device(name)
