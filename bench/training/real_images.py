"""Real images for the methods that learn from them: random batches, each from the seed and its own
number alone.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.plugin.dataset import Dataset, Pixels, checked_images
from bench.plugin.images import ImageSpec, from_uint8

RESIDENT_BYTES = 2**31
"""A data set up to this size is kept on the device; a larger one is read from its files, one batch
ahead.
"""


class RealStream:
    """Batches of real images in [-1, 1] and their one-hot labels, sampled uniformly with replacement.

    Batch k depends on the seed and on k, and on nothing else: ``batches_drawn`` is all there is to
    save and to continue from.
    """

    def __init__(self, dataset: Dataset, image_spec: ImageSpec, seed: int, device: torch.device) -> None:
        self.dataset, self.image_spec, self.seed, self.device = dataset, image_spec, seed, device
        self.batches_drawn = 0
        self.resident: Pixels | None = None
        if len(dataset) * image_spec.channels * image_spec.resolution**2 <= RESIDENT_BYTES:
            pixels, labels = checked_images(dataset, dataset.read(range(len(dataset))), len(dataset))
            self.resident = pixels.to(device), None if labels is None else labels.to(device)
        else:
            self._reader = ThreadPoolExecutor(1)
            self._ahead: dict[tuple[int, int], Future[Pixels]] = {}

    def sample(self, count: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor | None]:
        """Return these rows of the next ``count`` images (N, C, H, W), and their labels (N, label_dim)
        if the teacher has classes.
        """
        pixels, labels = (
            self._from_memory(self.resident, count, rows)
            if self.resident
            else self._from_files(count, rows)
        )
        self.batches_drawn += 1
        return from_uint8(pixels), self._one_hot(labels)

    def _indices(self, batch: int, count: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng([self.seed, batch]).integers(len(self.dataset), size=count)

    def _from_memory(self, resident: Pixels, count: int, rows: slice) -> Pixels:
        chosen = self._to_device(torch.from_numpy(self._indices(self.batches_drawn, count)[rows]))
        pixels, labels = resident
        return pixels[chosen], None if labels is None else labels[chosen]

    def _from_files(self, count: int, rows: slice) -> Pixels:
        batch = self._ahead.pop((self.batches_drawn, count), None) or self._read(
            self.batches_drawn, count, rows
        )
        following = self.batches_drawn + 1
        self._ahead = {(following, count): self._read(following, count, rows)}
        pixels, labels = checked_images(self.dataset, batch.result(), len(range(count)[rows]))
        return self._to_device(pixels), None if labels is None else self._to_device(labels)

    def _read(self, batch: int, count: int, rows: slice) -> Future[Pixels]:
        return self._reader.submit(self.dataset.read, self._indices(batch, count)[rows].tolist())

    def _one_hot(self, labels: Tensor | None) -> Tensor | None:
        length = self.image_spec.label_dim
        if labels is None or not length:
            return None
        if labels.ndim == 1:
            return F.one_hot(labels, length).float()
        return F.pad(labels.float(), (0, length - labels.shape[1]))

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the host on the device, without making the host wait for a GPU."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)
