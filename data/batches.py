"""Examples -> batches of few shapes, as a pure function of (seed, step).

Nothing is carried from batch to batch: a position is one integer, and to resume is to ask for
the batch at the next one. Nothing of the images is kept either, so that a source may be larger than
memory: shapes come from `Source.shape`, and an image is asked for when its batch is made.

Dimension key: `B` batch, `H W` label axes, `h w C` axes of the inputs (h = H and w = W if the
source gives images, not features of them).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from data.buckets import group_by_size
from data.sources import InMemory, Inputs, Lazy, Source, per_map
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID

__all__ = ["Batches", "InMemory", "Inputs", "Lazy", "Source"]


@dataclasses.dataclass
class Batches:
    """An endless row of batches; a position in it is the number of a step.

    Every epoch has each example once, in an order drawn from (seed, epoch). A last batch is
    filled up to `batch_size` with blank examples of weight 0, so that none is left out and one
    compiled shape serves all. Likewise inputs and labels are padded at the bottom and right to
    the largest of their bucket, with 0 and VOID.

    Attributes:
      source: where examples come from.
      batch_size: examples per batch.
      seed: of order, mirroring and the order of the buckets' batches.
      shuffle: False keeps the source's order, within each bucket.
      flip: mirror each example with probability 1/2, drawn from (seed, epoch) too.
      drop_last: leave out what does not fill a batch, as the authors' released code does: other
        examples in every epoch if they are shuffled.
      buckets: into how many groups of similar size the examples are divided at most. A batch has
        examples of one bucket, and each bucket is one more compiled shape; the batches of all of
        them come in an order drawn from (seed, epoch). 1: all have one shape.
      pixel_weights: label [H, W], mirrored or otherwise changed already -> float32 [H, W], what is
        added to the weights of its pixels; None: nothing.
    """

    source: Source
    batch_size: int
    seed: int = 0
    shuffle: bool = True
    flip: bool = False
    drop_last: bool = False
    buckets: int = 1
    pixel_weights: Callable[[np.ndarray], np.ndarray] | None = None

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("seed", 0), ("buckets", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name}={getattr(self, name)}: give a number from {least}")
        if self.batch_size > len(self.source):
            raise UserError(
                f"a batch of {self.batch_size} is larger than the split, which has "
                f"{len(self.source)} examples: lower --batch_size"
            )
        shapes = [self.source.shape(index) for index in range(len(self.source))]
        label_sizes = np.array([label_shape for _, label_shape in shapes])
        self._bucket = group_by_size(label_sizes, self.buckets, self.batch_size)
        self._counts = np.bincount(self._bucket)
        # Per bucket: the inputs' and the label's shape, and whether some examples are smaller.
        self._shapes, self._mixed = [], []
        for number in range(len(self._counts)):
            members = [shapes[index] for index in np.flatnonzero(self._bucket == number)]
            inputs_shapes, label_shapes = zip(*members, strict=True)
            self._shapes.append((per_map(_largest, *inputs_shapes), _largest(*label_shapes)))
            self._mixed.append(any(member != members[0] for member in members))

    def __len__(self) -> int:
        """Examples per epoch."""
        if self.drop_last:
            return self.steps_per_epoch * self.batch_size
        return len(self.source)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every example once."""
        counts = self._counts if self.drop_last else self._counts + self.batch_size - 1
        return int((counts // self.batch_size).sum())

    def examples_before(self, step: int) -> int:
        """How many examples of its epoch came in the batches before `step`: not each is full."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return sum(len(indices) for indices, _ in self._epoch(epoch)[:position])

    def batch(self, step: int) -> dict[str, np.ndarray | dict[str, np.ndarray]]:
        """The batch at `step`, counted from 0 over all epochs.

        Returns:
          {"image": [B, h, w, C] or {tap: [B, h, w, C]}, of the source's dtypes;
          "label": uint8 [B, H, W];
          "size": int32 [B, 2], height and width of each label before it was padded;
          "weight": float32 [B], 1 for an example;
          "pixel_weights": float32 [B, H, W], if asked for.}
          Size and weight are 0 for what only fills the batch up. In a bucket of several sizes there
          is also "valid_size", equal to "size": a network with exact padding needs it there
          (`reseg_jax.padding`).
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        indices, flips = self._epoch(epoch)[position]
        bucket = self._bucket[indices[0]]
        inputs_shape, label_shape = self._shapes[bucket]
        inputs, labels = zip(
            *(
                self.source.get(int(index), epoch, bool(flipped))
                for index, flipped in zip(indices, flips, strict=True)
            ),
            strict=True,
        )
        sizes = np.zeros((self.batch_size, 2), np.int32)
        sizes[: len(labels)] = [label.shape for label in labels]
        batch = {
            "image": per_map(self._stack, inputs_shape, *inputs),
            "label": self._stack(label_shape, *labels, fill=VOID, dtype=np.uint8),
            "size": sizes,
            "weight": sizes.all(axis=1).astype(np.float32),
        }
        if self.pixel_weights:
            batch["pixel_weights"] = self._stack(label_shape, *map(self.pixel_weights, labels))
        return batch | {"valid_size": sizes} if self._mixed[bucket] else batch

    def _stack(self, shape, *arrays, fill=0, dtype=None):
        """The arrays, each in the upper left of `shape`, as one [B, *shape]."""
        stacked = np.full((self.batch_size, *shape), fill, dtype or arrays[0].dtype)
        for slot, array in enumerate(arrays):
            stacked[slot, : array.shape[0], : array.shape[1]] = array
        return stacked

    def _epoch(self, epoch):
        """The batches of an epoch: (indices [at most B], which of them are mirrored) each."""
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


def _largest(*shapes):
    """The smallest shape that holds all."""
    return tuple(map(max, zip(*shapes, strict=True)))
