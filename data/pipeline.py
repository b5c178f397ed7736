"""Examples -> batches of one shape, as a pure function of (seed, step).

Nothing is carried from batch to batch: a position is one integer, and to resume is to ask for
the batch at the next one.

Dimension key: `B` batch, `H W` label axes, `h w C` image axes (h = H and w = W unless the source
offers features of the image in its place).
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from data.example import Example
from reseg_jax.config import VOID
from reseg_jax.errors import UserError


class Source(Protocol):
    """What batches are made from."""

    def __len__(self) -> int: ...

    def get(self, index: int, flipped: bool) -> tuple[np.ndarray, np.ndarray]:
        """(image [h, w, C], label [H, W]) of an example, or of its mirror image."""


class InMemory:
    """Decoded examples as a source."""

    def __init__(self, examples: Sequence[Example]):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def get(self, index: int, flipped: bool) -> tuple[np.ndarray, np.ndarray]:
        """(image [H, W, C], label [H, W]); flipped: both with left and right exchanged."""
        example = self.examples[index]
        image, label = example.image, example.label
        return (image[:, ::-1], label[:, ::-1]) if flipped else (image, label)


@dataclasses.dataclass
class Batches:
    """An endless row of batches; a position in it is the number of a step.

    Every epoch has each example once, in an order drawn from (seed, epoch). Its last batch is
    filled up to `batch_size` with blank examples of weight 0, so that none is left out and one
    compiled shape serves all. Likewise all images and labels are padded at the bottom and right
    to the largest of the source, with 0 and VOID.

    shuffle: False keeps the source's order.
    flip:    mirror each example with probability 1/2, drawn from (seed, epoch) too.
    """

    source: Source
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    flip: bool = False

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"--batch_size={self.batch_size}: give a number from 1")
        if self.seed < 0:
            raise UserError(f"--seed={self.seed}: give a number from 0")
        if self.batch_size > len(self.source):
            raise UserError(
                f"a batch of {self.batch_size} is larger than the split, which has "
                f"{len(self.source)} examples: lower --batch_size"
            )
        shapes = []
        for index in range(len(self.source)):
            # Keep shapes only: the arrays may be memory-mapped files, and open files are few.
            image, label = self.source.get(index, False)
            shapes.append(image.shape + label.shape)
        *image_shape, height, width = map(int, np.max(shapes, axis=0))
        self._image_shape, self._image_dtype = tuple(image_shape), image.dtype
        self._label_shape = height, width

    def __len__(self) -> int:
        """Examples an epoch."""
        return len(self.source)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every example once."""
        return -(-len(self.source) // self.batch_size)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch at `step`, counted from 0 over all epochs.

        {"image" [B, h, w, C], "label" [B, H, W] uint8, "weight" [B] float32: 1, and 0 where an
        example only fills the batch up}.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        order, flips = self._epoch(epoch)
        chosen = slice(position * self.batch_size, (position + 1) * self.batch_size)
        images = np.zeros((self.batch_size, *self._image_shape), self._image_dtype)
        labels = np.full((self.batch_size, *self._label_shape), VOID, np.uint8)
        weights = np.zeros(self.batch_size, np.float32)
        for slot, (index, flipped) in enumerate(zip(order[chosen], flips[chosen], strict=True)):
            image, label = self.source.get(int(index), bool(flipped))
            images[slot, : image.shape[0], : image.shape[1]] = image
            labels[slot, : label.shape[0], : label.shape[1]] = label
            weights[slot] = 1
        return {"image": images, "label": labels, "weight": weights}

    def _epoch(self, epoch):
        """The order [N] of the examples and who is mirrored [N]."""
        generator = np.random.default_rng([self.seed, epoch])
        count = len(self.source)
        order = generator.permutation(count)
        flips = generator.random(count) < 0.5
        return order if self.shuffle else np.arange(count), flips & self.flip
