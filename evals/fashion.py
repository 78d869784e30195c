"""Features of Fashion-MNIST's clothes, by a small classifier that this suite trains itself."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.files.tensors import read_weights
from bench.plugin import (
    FeatureExtractor,
    ImageSpec,
    Resumable,
    Training,
    from_uint8,
    load_weights,
    open_dataset,
    tensors_digest,
)

UNIT = 0.4254
"""Brings the features to a mean variance of 1 over the training set. A distance between features has the
scale of the classifier's weights, which means nothing.
"""


class FashionClassifier(nn.Module):
    """Four convolutions, from images (N, 1, 28, 28) in [-1, 1] to features (N, 64) and logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 40, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(40, 40, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(40 * 49, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features)


class FashionFeatures(FeatureExtractor, Resumable):
    """A classifier of 161,786 parameters trained on Fashion-MNIST's training set: 64 features, 10 logits."""

    image_spec = ImageSpec(1, 28)
    features = ("pool", "logits")
    training_images = 1_024_000
    shipped = Path(__file__).with_name("fashion_classifier.safetensors")

    def __init__(self, path: Path | None = None) -> None:
        tensors = read_weights(path or self.shipped)
        self.network = FashionClassifier()
        load_weights(self.network, tensors, f"the classifier {(path or self.shipped).name}")
        self.network.eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        features, logits = self.network(from_uint8(images))
        return {"pool": UNIT * features, "logits": logits}

    def digest(self) -> str:
        return tensors_digest(self.network.state_dict())

    @classmethod
    def training(cls, images: int, device: torch.device) -> Training:
        """Train by AdamW with batch 128, half of the images mirrored, noise of 0.05, label smoothing 0.05,
        convolutions in bf16, and a weight average of decay 0.999.

        The learning rate is 2e-3, and falls linearly to 0. The accuracy is that on the test set.
        """
        pixels, classes = next(open_dataset("fashion-mnist").batches(60_000))
        assert classes is not None
        network, batch = FashionClassifier().to(device).to(memory_format=torch.channels_last), 128

        def loss() -> Tensor:
            chosen = torch.randint(len(pixels), (batch,))
            x = from_uint8(pixels[chosen]).to(device)
            x = torch.where(torch.rand(batch, 1, 1, 1).to(device) < 0.5, x, x.flip(3))
            x = (x + 0.05 * torch.randn_like(x)).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16):
                _, logits = network(x)
            return F.cross_entropy(logits.float(), classes[chosen].to(device), label_smoothing=0.05)

        return Training(
            network,
            torch.optim.AdamW(network.parameters(), weight_decay=0.05),
            loss,
            batch=batch,
            images=images,
            rate=lambda seen: 2e-3 * (1 - seen / images),
            decay=0.999,
            measure=lambda trained: {"held_out_accuracy": on_test_set(trained)},
        )


def on_test_set(classifier: nn.Module) -> float:
    """Return the accuracy of a classifier on the 10,000 images of the test set."""
    pixels, classes = next(open_dataset("fashion-mnist-test").batches(10_000))
    assert classes is not None
    device = next(classifier.parameters()).device
    with torch.no_grad():
        found = [
            classifier(from_uint8(part.to(device)))[1].argmax(1).cpu() for part in pixels.split(500)
        ]
    return (torch.cat(found) == classes).double().mean().item()
