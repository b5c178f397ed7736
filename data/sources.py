"""Sources: what batches are made from, decoded already or on demand.

Dimension key: `H W` label axes, `h w C` axes of the inputs: an image (h = H and w = W), or features
of it, an array per tap.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from data.example import Example
from data.reading.layout import Pair
from reseg_jax.errors import UserError

Inputs = np.ndarray | dict[str, np.ndarray]
"""An image [h, w, C], or {tap: features of it [h, w, C]}."""

Shape = tuple[int, ...]


class Source(Protocol):
    """Examples by index; training may ask for other versions of them in every epoch."""

    def __len__(self) -> int: ...

    def get(
        self, index: int, epoch: int | None = None, flipped: bool = False
    ) -> tuple[Inputs, np.ndarray]:
        """An example, or what an epoch sees of it.

        Args:
          index: which example.
          epoch: the epoch that augmentation is drawn from; None is the example itself.
          flipped: exchange left and right, after any augmentation.

        Returns:
          (the inputs [h, w, C] or {tap: [h, w, C]}, the label uint8 [H, W]).
        """

    def shape(self, index: int) -> tuple[Shape | dict[str, Shape], Shape]:
        """The shapes that `get` gives in every epoch, found without decoding if possible.

        Returns:
          ((h, w, C) or {tap: (h, w, C)}, (H, W)).
        """


class InMemory:
    """Decoded examples as a source."""

    def __init__(self, examples: Sequence[Example]):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def get(
        self, index: int, epoch: int | None = None, flipped: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(image [H, W, 3], label [H, W]), the same in every epoch; see `Source`."""
        example = self.examples[index]
        return mirror(example.image, example.label) if flipped else (example.image, example.label)

    def shape(self, index: int) -> tuple[Shape, Shape]:
        """((H, W, 3), (H, W))."""
        example = self.examples[index]
        return example.image.shape, example.label.shape


class Lazy:
    """Files as a source that decodes an example when it is asked for, and keeps none.

    For sets larger than memory. A broken file is found only when its turn comes.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        read: Callable[[Pair], tuple[np.ndarray, np.ndarray]],
        size: Callable[[Pair], tuple[int, int]],
    ):
        """
        Args:
          pairs: the image and label files.
          read: pair -> (image uint8 [H, W, 3], label uint8 [H, W]).
          size: pair -> (H, W), from a file's header (`data.reading.headers.header_size`).
        """
        self.pairs, self.read, self.size = pairs, read, size

    def __len__(self):
        return len(self.pairs)

    def get(
        self, index: int, epoch: int | None = None, flipped: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(image [H, W, 3], label [H, W]), the same in every epoch; see `Source`.

        Raises:
          UserError: a file is missing or broken, or the label is not of the size that `shape` gave.
        """
        pair = self.pairs[index]
        image, label = self.read(pair)
        if label.shape != (size := self.size(pair)):
            raise UserError(
                f"{pair.label} is {label.shape[1]}x{label.shape[0]} but its header says "
                f"{size[1]}x{size[0]}: save it again"
            )
        return mirror(image, label) if flipped else (image, label)

    def shape(self, index: int) -> tuple[Shape, Shape]:
        """((H, W, 3), (H, W)), by reading a header."""
        size = self.size(self.pairs[index])
        return (*size, 3), size


def mirror(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[H, W, ...] each, with left and right exchanged (views)."""
    return image[:, ::-1], label[:, ::-1]


def per_map(function: Callable, inputs, *more):
    """`function` of the inputs, or of each tap's if they are a dict by tap.

    Args:
      function: takes one map (or shape) of `inputs` and of each of `more`.
      inputs, more: all arrays (or shapes), or all dicts with the same taps.

    Returns:
      What `function` returns, or {tap: what it returns}.
    """
    if not isinstance(inputs, dict):
        return function(inputs, *more)
    return {tap: function(*(each[tap] for each in (inputs, *more))) for tap in inputs}
