"""Examples -> batches of few shapes, as a pure function of (seed, step).

Nothing is carried from batch to batch: a position is one integer, and to resume is to ask for
the batch at the next one.

Dimension key: `B` batch, `H W` label axes, `h w C` image axes (h = H and w = W unless the source
offers features of the image in its place).
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from data.buckets import group_by_size
from data.example import Example
from reseg_jax.config import VOID
from reseg_jax.errors import UserError


class Source(Protocol):
    """What batches are made from.

    One whose `per_epoch` is true gives other pictures in every epoch, and is also told the epoch.
    """

    def __len__(self) -> int: ...

    def get(self, index: int, flipped: bool) -> tuple[np.ndarray | tuple, np.ndarray]:
        """(image [h, w, C] or a tuple of such, label [H, W]) of an example or its mirror image."""


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

    Every epoch has each example once, in an order drawn from (seed, epoch). A last batch is
    filled up to `batch_size` with blank examples of weight 0, so that none is left out and one
    compiled shape serves all. Likewise images and labels are padded at the bottom and right to
    the largest of their bucket, with 0 and VOID.

    shuffle:   False keeps the source's order, within each bucket.
    flip:      mirror each example with probability 1/2, drawn from (seed, epoch) too.
    drop_last: leave out what does not fill a batch, as the authors' released code does: other
               examples in every epoch where they are shuffled.
    buckets:   into how many groups of similar size the examples are divided at most. A batch has
               examples of one bucket, and each bucket is one more compiled shape; the batches of
               all of them come in an order drawn from (seed, epoch). 1: all have one shape.
    """

    source: Source
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    flip: bool = False
    drop_last: bool = False
    buckets: int = 1

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("seed", 0), ("buckets", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name}={getattr(self, name)}: give a number from {least}")
        if self.batch_size > len(self.source):
            raise UserError(
                f"a batch of {self.batch_size} is larger than the split, which has "
                f"{len(self.source)} examples: lower --batch_size"
            )
        shapes = []
        for index in range(len(self.source)):
            # Keep shapes only: the arrays may be memory-mapped files, and open files are few.
            image, label = self.source.get(index, False)
            shapes.append([part.shape for part in _parts(image)] + [(*label.shape, 1)])
        shapes = np.array(shapes)  # [N, parts of the image and the label, 3]
        self._dtypes = [part.dtype for part in _parts(image)]
        self._tuple = isinstance(image, tuple)
        self._bucket = group_by_size(shapes[:, -1, :2], self.buckets, self.batch_size)
        self._counts = np.bincount(self._bucket)
        members = [shapes[self._bucket == number] for number in range(len(self._counts))]
        # Of each bucket: h, w, C of the image's parts, then H, W, 1; and whether some are smaller.
        self._shapes = [ours.max(axis=0) for ours in members]
        self._mixed = [bool((ours != ours[0]).any()) for ours in members]

    def __len__(self) -> int:
        """Examples an epoch."""
        if self.drop_last:
            return self.steps_per_epoch * self.batch_size
        return len(self.source)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every example once."""
        counts = self._counts if self.drop_last else self._counts + self.batch_size - 1
        return int((counts // self.batch_size).sum())

    def shown(self, step: int) -> int:
        """How many examples of its epoch the batches before `step` had: not each is full."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return sum(len(indices) for indices, _ in self._epoch(epoch)[:position])

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch at `step`, counted from 0 over all epochs.

        {"image" [B, h, w, C] or a tuple of such, "label" [B, H, W] uint8, "size" [B, 2] int32: the
        height and width of each label before it was padded, "weight" [B] float32: 1; size and
        weight are 0 where an example only fills the batch up}. In a bucket of several sizes there
        is also "inside", the sizes for who computes (`reseg_jax.padding`).
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        indices, flips = self._epoch(epoch)[position]
        bucket = self._bucket[indices[0]]
        *image_shapes, (height, width, _) = self._shapes[bucket].tolist()
        images = tuple(
            np.zeros((self.batch_size, *shape), dtype)
            for shape, dtype in zip(image_shapes, self._dtypes, strict=True)
        )
        labels = np.full((self.batch_size, height, width), VOID, np.uint8)
        sizes = np.zeros((self.batch_size, 2), np.int32)
        for slot, (index, flipped) in enumerate(zip(indices, flips, strict=True)):
            image, label = self._get(int(index), bool(flipped), epoch)
            for padded, part in zip(images, _parts(image), strict=True):
                padded[slot, : part.shape[0], : part.shape[1]] = part
            labels[slot, : label.shape[0], : label.shape[1]] = label
            sizes[slot] = label.shape
        image = images if self._tuple else images[0]
        weights = sizes.all(axis=1).astype(np.float32)
        batch = {"image": image, "label": labels, "size": sizes, "weight": weights}
        return batch | {"inside": sizes} if self._mixed[bucket] else batch

    def _get(self, index, flipped, epoch):
        if getattr(self.source, "per_epoch", False):
            return self.source.get(index, flipped, epoch)
        return self.source.get(index, flipped)

    def _epoch(self, epoch):
        """The batches of an epoch: (indices [at most B], who of them is mirrored) each."""
        generator = np.random.default_rng([self.seed, epoch])
        count, size = len(self.source), self.batch_size
        order = generator.permutation(count)
        flips = (generator.random(count) < 0.5) & self.flip
        if not self.shuffle:
            order = np.arange(count)
        batches = []
        for number, members in enumerate(self._counts):
            places = np.flatnonzero(self._bucket[order] == number)
            end = members - members % size if self.drop_last else members
            chunks = [places[start : start + size] for start in range(0, end, size)]
            batches += [(order[chunk], flips[chunk]) for chunk in chunks]
        if self.shuffle and len(self._counts) > 1:
            batches = [batches[index] for index in generator.permutation(len(batches))]
        return batches


def _parts(image):
    return image if isinstance(image, tuple) else (image,)
