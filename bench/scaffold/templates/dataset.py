"""new-dataset: a working example of a data set, to be made into your own."""

from pathlib import Path

import torch

from bench.plugin import InMemory, refuse_path, register_dataset

SIZE, COUNT = 8, 2000


@register_dataset("new-dataset")
class NewDataset(InMemory):
    """Bright bars on a dark ground, of two classes: lying and standing (an example to begin from).

    What is read from files opens `path`, or its usual place where that is None. A data set that does not fit
    into memory inherits from Dataset instead, and defines image_spec, __len__ and read.
    """

    def __init__(self, path: Path | None = None) -> None:
        refuse_path("new-dataset", path)  # this one is made, and not read
        generator = torch.Generator().manual_seed(0)  # the same images in the same order each time
        classes = torch.arange(COUNT) % 2
        place = torch.randint(SIZE, (COUNT,), generator=generator)
        grey = torch.randint(160, 256, (COUNT, 1), generator=generator)
        bar = (torch.arange(SIZE) == place[:, None]) * grey  # (N, 8), one place of each is bright
        lying = bar[:, :, None].expand(-1, SIZE, SIZE)
        images = torch.where(classes[:, None, None] == 0, lying, lying.mT)
        # Images are uint8 (N, C, H, W); labels are classes int64 (N,), vectors float32 (N, d), or None.
        super().__init__(images[:, None].to(torch.uint8), classes)
