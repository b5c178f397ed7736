"""When a training has diverged although its numbers are finite."""

import math
from collections.abc import Sequence

# A network that knows nothing and says so, every class alike, has a cross-entropy of ln K per
# pixel, and a network at its first update about as much. A loss a thousand times as large means
# logits that are wrong by thousands, which no training of ours recovered from, nor came near.
_FACTOR = 1000.0
# In a row, so that no single strange batch ends a training.
_STEPS = 10


class Divergence:
    """Watches the losses of a run.

    Attributes:
      first_loss: of the run's first update; None before it. To be kept with a checkpoint.
      last: the last loss.
      limit: above which a loss is absurd.
      over: how many of the last losses, in a row, were.
    """

    def __init__(self, num_classes: int, first_loss: float | None = None):
        self.num_classes = num_classes
        self.first_loss = first_loss
        self.last = self.limit = math.nan
        self.over = 0

    def add(self, loss: float, label_shape: Sequence[int]) -> None:
        """Take note of the loss of a batch with labels of `label_shape` [B, H, W]."""
        if self.first_loss is None:
            self.first_loss = loss
        self.last = loss
        guessed = math.log(max(self.num_classes, 2)) * math.prod(label_shape[1:])
        self.limit = _FACTOR * max(self.first_loss, guessed)
        self.over = self.over + 1 if loss > self.limit else 0

    def describe(self) -> str:
        """The last loss for a line of progress; nothing before the first one."""
        return "" if math.isnan(self.last) else f"loss {self.last:.4g}"

    def is_certain(self) -> bool:
        """Whether the loss was absurd for long enough."""
        return self.over >= _STEPS
