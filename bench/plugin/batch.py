"""The random inputs of one update, as a method's losses see them."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor


class WholeBatchNeeded(Exception):
    """A loss of a part of a batch has asked for the numbers of the whole: these are the part's own."""

    def __init__(self, values: tuple[Tensor, ...]) -> None:
        super().__init__("the loss needs the whole batch")
        self.values = values


@dataclass
class Batch:
    """The random inputs of one update, or of a part of its images where a device holds no more.

    A step with ``reuse`` sees the same object as the step before it. How far the training is, a loss reads
    from ``spent``, ``seen``, ``updates`` and ``stage``: they are those of when the batch was drawn, and a run
    that was stopped and continued, or that computes a batch in parts, sees the same ones.
    """

    z: Tensor
    """Unit Gaussian noise, (N, C, H, W)."""
    labels: Tensor | None = None
    """One-hot class labels, (N, label_dim), or None."""
    # Any, so that a method, which is given what it requires, need not assert that it is there.
    pairs: Any = None
    """Noise (N, C, H, W), the teacher's images of it, and their labels (N, label_dim) or None, for
    methods that require TeacherPairs.
    """
    real: Any = None
    """Real images (N, C, H, W) in [-1, 1] and their labels (N, label_dim) or None, for methods that
    require RealImages.
    """
    seen: int = 0
    """Images that were counted before this update, in this stage. A loss that takes more than tensors from
    it, or from ``updates``, says so in the method's ``phase``, or ``--capture`` refuses it.
    """
    memo: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that one step leaves for the next step on the same batch."""
    logs: dict[str, Tensor] = field(default_factory=dict)
    """Numbers worth plotting, by name: each a tensor with one value, the mean over these images, without
    gradient and left on the device. They stand in ``metrics.jsonl`` and in trackers under this name.
    """
    rows: range | None = None
    """Which images of the update these are, where the others are computed apart; None for all of them."""
    gathered: tuple[Tensor, ...] | None = None
    """The answer to ``whole``, once the other parts have been asked."""
    spent: Any = None
    """The part of the budget that is spent, along the budget's own axis and with all stages, as a tensor with
    one value from 0 to 1 on the device: ``torch.where(batch.spent < 0.5, a, b)`` needs no ``phase``.
    Of a budget in seconds it depends on the machine, and no run is repeated to the bit.
    """
    updates: int = 0
    """Updates of the generator before this one, in this stage: ``seen`` over the batch's size."""
    stage: int = 0
    """The number of the method's stage, from 0; always 0 for a method without ``stages``."""

    def __post_init__(self) -> None:
        if self.spent is None:  # of a batch that somebody made to try a loss
            self.spent = self.z.new_zeros(())

    def whole(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Return numbers of these images, (N,) each, for all images of the update, without gradient.

        For a loss in which one image depends on others. Of a batch in parts (``--batch-gpu``, several
        GPUs) each part is computed up to here, and then again with the answer. A loss asks once, and
        changes nothing before.
        """
        if self.rows is None:
            return tuple(value.detach() for value in values)
        if self.gathered is None:
            raise WholeBatchNeeded(tuple(value.detach() for value in values))
        return self.gathered

    def part(self, rows: range, first: int = 0) -> "Batch":
        """Return some images of the update as a batch of their own, with nothing remembered. This one
        begins with image ``first``.
        """

        def cut(tensors: Any) -> Any:
            own = slice(rows.start - first, rows.stop - first)
            return None if tensors is None else tuple(None if t is None else t[own] for t in tensors)

        z, labels = cut((self.z, self.labels))
        return replace(
            self,
            z=z,
            labels=labels,
            pairs=cut(self.pairs),
            real=cut(self.real),
            memo={},
            logs={},
            rows=rows,
            gathered=None,
        )
