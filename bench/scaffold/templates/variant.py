"""new-method: `parent` with a loss that changes as the budget is spent.

Settings, their values and sources are those of `parent`; this file states what differs.
"""

from pydantic import Field
from torch import Tensor

from bench.plugin import Batch, get_method, register_method

Parent = get_method("parent")


@register_method("new-method")
class NewMethod(Parent):  # type: ignore[valid-type,misc]  # a class that is found by its name
    """`parent` with a loss whose weight falls as the budget is spent (an example to begin from)."""

    class Settings(Parent.Settings):  # type: ignore[name-defined,misc]
        """Those of `parent`, and one more."""

        fall: float = Field(
            0.5, ge=0, lt=1, description="part of the loss that is gone at the budget's end"
        )

    def parent_loss(self, batch: Batch) -> Tensor:
        """The loss of `parent` for each image, (N,), under a weight that falls from 1 to 1 - fall."""
        weight = 1 - self.settings.fall * batch.spent  # a tensor, so that it works under --capture too
        return weight * super().parent_loss(batch)
