"""Training on crops: of images, or of features and labels together.

Customary, and not in the paper.

Dimension key: `H W` image axes, `h w C` axes of the inputs, an image or features of it.
"""

import dataclasses

import numpy as np

from data.sources import Inputs, Shape, Source, per_map


@dataclasses.dataclass(frozen=True)
class Cropped:
    """A source that gives a `random_crop` of each of `source`'s, another one in every epoch.

    Attributes:
      source: gives images or features.
      seed: of the crops' places.
      share: of the height and of the width, above 0 and at most 1.
    """

    source: Source
    seed: int
    share: float

    def __len__(self):
        return len(self.source)

    def get(
        self, index: int, epoch: int | None = None, flipped: bool = False
    ) -> tuple[Inputs, np.ndarray]:
        """(inputs, label) of a crop: a function of seed, epoch and index; see `Source`.

        Without an epoch the upper left one.
        """
        inputs, label = self.source.get(index, epoch, flipped)
        # The 2 keeps example 0 from drawing the numbers of `Augmented`.
        generator = None if epoch is None else np.random.default_rng([self.seed, epoch, index, 2])
        return random_crop(generator, inputs, label, self.share)

    def shape(self, index: int) -> tuple[Shape | dict[str, Shape], Shape]:
        """((h, w, C) or {tap: (h, w, C)}, (H, W)) of a crop."""
        inputs_shape, label_shape = self.source.shape(index)
        grid = _grid(inputs_shape, label_shape)
        size = grid.crop(self.share)

        def cut(shape, stride=1):
            rows, columns = np.minimum(size * grid.coarsest // stride, shape[:2]).tolist()
            return (rows, columns, *shape[2:])

        return per_map(cut, inputs_shape, grid.strides), cut(label_shape)


def random_crop(
    generator: np.random.Generator | None, inputs: Inputs, label: np.ndarray, share: float
) -> tuple[Inputs, np.ndarray]:
    """A crop of image and label, or of features and label.

    It begins and ends between cells of the coarsest map, so that all maps show the same pixels;
    features have seen beyond it.

    Args:
      generator: of the place; None is the upper left.
      inputs: [h, w, C] or {tap: [h, w, C]}.
      label: [H, W].
      share: of the height and of the width, above 0 and at most 1.

    Returns:
      (inputs, label), smaller.
    """
    grid = _grid(per_map(np.shape, inputs), label.shape)
    size = grid.crop(share)
    start = np.zeros(2, int) if generator is None else generator.integers(grid.cells - size + 1)

    def cut(one, stride=1):
        top, left = start * grid.coarsest // stride
        bottom, right = (start + size) * grid.coarsest // stride
        return one[top:bottom, left:right]

    return per_map(cut, inputs, grid.strides), cut(label)


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Cells of the coarsest map, between which crops begin and end.

    strides: pixels per cell, [2] or {tap: [2]}; coarsest: [2], the largest of them; cells: [2], how
    many the image fills (a last one that it fills in part is never in a crop).
    """

    strides: np.ndarray | dict[str, np.ndarray]
    coarsest: np.ndarray
    cells: np.ndarray

    def crop(self, share):
        """[2] cells of a crop."""
        return np.maximum(1, np.rint(share * self.cells)).astype(int)


def _grid(inputs_shape, label_shape):
    strides = per_map(
        lambda shape: np.rint(np.divide(label_shape, shape[:2])).astype(int), inputs_shape
    )
    coarsest = np.max([*strides.values()], axis=0) if isinstance(strides, dict) else strides
    return _Grid(strides, coarsest, label_shape // coarsest)
