"""Real images for the methods that learn from them: drawn at random, each draw from the seed and its own number alone."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.plugin.dataset import Dataset
from bench.plugin.images import ImageSpec, from_uint8

RESIDENT_BYTES = 2**31
"""A data set up to this size is kept on the device; a larger one is read from its files, one batch ahead."""

Images = tuple[Tensor, Tensor | None]


class RealStream:
    """Batches of real images in [-1, 1] and their one-hot labels, drawn uniformly with replacement.

    Draw number k depends on the seed and on k, and on nothing else: ``drawn`` is all there is to save and to continue from.
    """

    def __init__(self, dataset: Dataset, images: ImageSpec, seed: int, device: torch.device) -> None:
        self.dataset, self.spec, self.seed, self.device, self.drawn = dataset, images, seed, device, 0
        self.resident: Images | None = None
        if len(dataset) * images.channels * images.resolution**2 <= RESIDENT_BYTES:
            pixels, labels = dataset.read(range(len(dataset)))
            self.resident = pixels.to(device), None if labels is None else labels.to(device)
        else:
            self._reader = ThreadPoolExecutor(1)
            self._ahead: dict[tuple[int, int], Future[Images]] = {}

    def draw(self, count: int) -> Images:
        """The next ``count`` images (N, C, H, W), and their labels (N, label_dim) if the teacher has classes."""
        pixels, labels = self._resident(self.resident, count) if self.resident else self._from_files(count)
        self.drawn += 1
        return from_uint8(self._moved(pixels)), self._one_hot(labels)

    def _indices(self, draw: int, count: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng([self.seed, draw]).integers(len(self.dataset), size=count))

    def _resident(self, held: Images, count: int) -> Images:
        chosen = self._moved(self._indices(self.drawn, count))
        return held[0][chosen], None if held[1] is None else held[1][chosen]

    def _from_files(self, count: int) -> Images:
        read = self._ahead.pop((self.drawn, count), None) or self._submit(self.drawn, count)
        self._ahead = {(self.drawn + 1, count): self._submit(self.drawn + 1, count)}
        return read.result()

    def _submit(self, draw: int, count: int) -> Future[Images]:
        return self._reader.submit(self.dataset.read, self._indices(draw, count).tolist())

    def _one_hot(self, labels: Tensor | None) -> Tensor | None:
        if labels is None or not self.spec.label_dim:
            return None
        labels = self._moved(labels)
        return F.one_hot(labels, self.spec.label_dim).float() if labels.ndim == 1 else labels.float()

    def _moved(self, tensor: Tensor) -> Tensor:
        """On the device, without making the host wait for a GPU."""
        if tensor.device != self.device and self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)
