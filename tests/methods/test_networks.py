"""Every method on EDM's own U-Nets, small and of random weights: unconditional with augmentation,
and by class.
"""

from __future__ import annotations

import pytest
import torch

from bench import registry
from bench.evaluation.sampling import seeded_noise
from bench.plugin import InMemory, NoiseLevels, RealImages, Sampler, Teacher, TeacherPairs
from bench.runs.budget import Budget
from bench.settings import choose_settings
from bench.training.pairs import PairStream
from bench.training.real_images import RealStream
from bench.training.trainer import Trainer
from teachers.networks.augment import AugmentPipe
from teachers.networks.config import NetworkConfig
from tests.helpers.trainers import TRAINED

SHAPE = {
    "model_channels": 32,
    "channel_mult": [1, 1],
    "num_blocks": 1,
    "img_resolution": 16,
    "img_channels": 3,
}
CPU = torch.device("cpu")


class Unconditional(Teacher):
    """DDPM++ in small, which is told of its augmentation."""

    config = NetworkConfig(model_type="SongUNet", attn_resolutions=[8], augment_dim=9, **SHAPE)
    image_spec, noise, sampler, dataset, protocol = (
        config.image_spec,
        NoiseLevels(),
        Sampler(4),
        None,
        None,
    )
    augment = AugmentPipe(0.5)

    def load(self, path):
        torch.manual_seed(0)
        network = self.config.build()
        for parameter in network.parameters():  # some start at zero
            torch.nn.init.normal_(parameter, std=0.05)
        return network


class Conditional(Unconditional):
    """ADM in small, of four classes."""

    config = NetworkConfig(model_type="DhariwalUNet", attn_resolutions=[8], label_dim=4, **SHAPE)
    image_spec, augment = config.image_spec, None


@pytest.mark.parametrize("teacher_class", [Unconditional, Conditional])
@pytest.mark.parametrize(("method", "settings"), TRAINED)
def test_two_updates_change_the_generator_and_leave_it_finite(method, settings, teacher_class):
    teacher, cls = teacher_class(), registry.methods.get(method)
    small = {"batch": 2, "dropout": 0.1, "warmup_updates": 0} | settings
    if method in ("dmd", "kd", "pd", "cd"):
        small["distance"] = "l2"
    if method == "sid2a":
        small |= {"start": None, "sid_share": 0.5}
    small = {name: value for name, value in small.items() if name in cls.Settings.model_fields}
    chosen = choose_settings(cls, "edm-cifar10", small).settings
    needs = {type(wanted) for wanted in cls.requires(chosen)}
    z, labels = seeded_noise(range(4), teacher.image_spec)
    pairs = PairStream(z, z.flip(0), labels, 0, 0.0) if TeacherPairs in needs else None
    pixels = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    real = (
        RealStream(InMemory(pixels, torch.arange(8) % 4), teacher.image_spec, 0, CPU)
        if RealImages in needs
        else None
    )
    trainer = Trainer(cls(chosen, teacher), teacher, Budget.parse("updates=2"), CPU, pairs, real)
    before = [p.clone() for p in trainer.method.generator.parameters()]
    while trainer.fraction < 1:
        trainer.iteration()
    after = list(trainer.method.generator.parameters())
    assert all(p.isfinite().all() for p in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(loss.isfinite() for loss in trainer.losses.values())
    made = trainer.averaged().generate(z, labels)
    assert made.shape == z.shape
    assert made.isfinite().all()
