"""Features of handwritten digits, by a small classifier that this suite trains itself."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.files.tensors import read_weights
from bench.plugin import (
    FeatureExtractor,
    ImageSpec,
    Trainable,
    from_uint8,
    load_weights,
    open_dataset,
    tensors_digest,
)

HELD_OUT = 360
"""Number of images, a fifth, kept from training for the accuracy in the shipped file's description."""


class DigitClassifier(nn.Module):
    """Two convolutions, from images (N, 1, 8, 8) in [-1, 1] to features (N, 64) and logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * 16, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features)


class DigitFeatures(FeatureExtractor, Trainable):
    """A classifier of 64,058 parameters trained on scikit-learn's digits: 64 features, 10 logits."""

    image_spec = ImageSpec(1, 8)
    features = ("pool", "logits")
    training_images = 192_000
    shipped = Path(__file__).with_name("digits_classifier.safetensors")

    def __init__(self, path: Path | None = None) -> None:
        tensors = read_weights(path or self.shipped)
        self.network = DigitClassifier()
        load_weights(self.network, tensors, f"the classifier {(path or self.shipped).name}")
        self.network.eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        features, logits = self.network(from_uint8(images))
        return {"pool": features, "logits": logits}

    def digest(self) -> str:
        return tensors_digest(self.network.state_dict())

    @classmethod
    def train(
        cls, images: int, seed: int, report: Callable[[int, float], None]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Train by AdamW with batch 128, noise of 0.1 on the images, and label smoothing 0.05.

        The learning rate is 2e-3, and falls linearly to 0.
        """
        torch.manual_seed(seed)
        pixels, classes = next(open_dataset("digits").batches(10_000))
        assert classes is not None
        order = torch.randperm(len(pixels))
        train, held_out = order[HELD_OUT:], order[:HELD_OUT]
        network, batch, rate = DigitClassifier(), 128, 2e-3
        optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
        for seen in range(0, images, batch):
            optimizer.param_groups[0]["lr"] = rate * (1 - seen / images)
            chosen = train[torch.randint(len(train), (batch,))]
            x = from_uint8(pixels[chosen])
            _, logits = network(x + 0.1 * torch.randn_like(x))
            loss = F.cross_entropy(logits, classes[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if seen % (100 * batch) == 0:
                report(seen, loss.item())
        with torch.no_grad():
            _, logits = network.eval()(from_uint8(pixels[held_out]))
        accuracy = (logits.argmax(1) == classes[held_out]).double().mean().item()
        return network.state_dict(), {"held_out_accuracy": accuracy}
