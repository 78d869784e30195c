"""The losses of a training, on the device until somebody looks: to look makes a GPU wait."""

import math
from collections.abc import Sequence

from torch import Tensor

from bench.errors import Diverged
from bench.plugin.batch import Batch
from bench.plugin.shapes import require_shape
from bench.training.parts import values_of_whole


class Losses(dict[str, Tensor]):
    """The latest loss of each step, ``loss/ROLE``, and what the losses log. ``whose`` names the method."""

    def __init__(self, whose: str) -> None:
        super().__init__()
        self.whose = whose
        self.unchecked: list[tuple[int, str, Tensor]] = []
        """Losses that nobody has looked at yet, with their updates and roles."""

    def note(self, role: str, loss: Tensor, batch: Sequence[Batch], images: int) -> None:
        """Take note of an update's loss and logs, of a batch of so many images in all.

        Raises BenchError for a log that is not one number.
        """
        self[f"loss/{role}"] = loss
        for name in batch[0].logs:
            for part in batch:
                field = f"batch.logs[{name!r}] of the {role} step of {self.whose}"
                require_shape(part.logs.get(name), (), field, "log the mean over the images, x.mean()")
            shares = [part.logs[name].detach() * (len(part.z) / images) for part in batch]
            self[name] = sum(shares[1:], shares[0])

    def numbers(self) -> dict[str, float]:
        """Look at the latest ones."""
        return dict(zip(self, values_of_whole(list(self.values())), strict=True))

    def require_finite(self) -> None:
        """Raise Diverged for the first loss since the last call that is not a finite number."""
        values = values_of_whole([loss for _, _, loss in self.unchecked])
        for (update, role, _), value in zip(self.unchecked, values, strict=True):
            if not math.isfinite(value):
                raise Diverged(
                    f"training diverged: the loss of the {role} step is {value} at update {update:,}; "
                    "give smaller learning rates by --set, or mend the loss."
                )
        self.unchecked = []
