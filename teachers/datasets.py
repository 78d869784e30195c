"""Data sets that teachers were trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bench.plugin import Dataset


class Digits(Dataset):
    """The 1,797 handwritten digits of scikit-learn, 1x8x8, their 17 grey levels spread over 0 to 255."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # a second to import, so only when the images are needed

        values, classes = load_digits(return_X_y=True)
        self.images = torch.from_numpy(np.rint(values * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
        self.classes = torch.from_numpy(classes)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.images.split(size), self.classes.split(size), strict=True)
