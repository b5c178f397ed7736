"""Training images changed at random: enlarged or reduced, cropped, mirrored, colors jittered.

Customary, and not in the paper. If mirroring is all, it is `Batches`'.

Dimension key: `H W` image axes, `h w C` axes of the inputs, an image or features of it.
"""

import dataclasses
import math

import numpy as np
from PIL import Image, ImageEnhance

from data.sources import Inputs, Shape, Source, mirror, per_map
from reseg_jax.labels import VOID


@dataclasses.dataclass(frozen=True)
class Augmented:
    """A source that gives another version of each image of `source` in every epoch.

    Attributes:
      source: gives images uint8 [H, W, 3] and labels.
      seed: of all that is drawn.
      scale: (low, high) of `random_scale`; (1, 1) leaves sizes as they are.
      color: strength of `jitter_color`; 0 leaves colors as they are.
      flip: mirror with probability 1/2.
      num_augmented_copies: how many versions there are of an image, which the epochs give in turn;
        the first is the image itself. 0: each epoch has its own.
    """

    source: Source
    seed: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    color: float = 0.0
    flip: bool = False
    num_augmented_copies: int = 0

    def __len__(self):
        return len(self.source)

    def get(
        self, index: int, epoch: int | None = None, flipped: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """(image [H, W, 3], label [H, W]), both uint8: a function of seed, epoch and index.

        See `Source`.
        """
        if self.num_augmented_copies and epoch is not None:
            epoch = epoch % self.num_augmented_copies or None
        image, label = self.source.get(index, epoch)
        if epoch is not None:
            # Zeros at the end of a seed do not count: the 1 keeps example 0 from drawing the
            # numbers that order the epoch's batches.
            generator = np.random.default_rng([self.seed, epoch, index, 1])
            if self.color:
                image = jitter_color(generator, image, self.color)
            if tuple(self.scale) != (1, 1):
                image, label = random_scale(generator, image, label, *self.scale)
            flipped ^= self.flip and generator.random() < 0.5
        return mirror(image, label) if flipped else (image, label)

    def shape(self, index: int) -> tuple[Shape, Shape]:
        """The source's: augmentation keeps sizes."""
        return self.source.shape(index)


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


def jitter_color(generator: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Brightness, contrast and saturation times a random factor each.

    Contrast is about the mean gray of the image, saturation about the gray of the pixel.

    Args:
      generator: of the three factors, uniform in 1 - strength .. 1 + strength.
      image: uint8 [H, W, 3].
      strength: 0..1.

    Returns:
      uint8 [H, W, 3].
    """
    jittered = Image.fromarray(image)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        jittered = enhance(jittered).enhance(generator.uniform(1 - strength, 1 + strength))
    return np.asarray(jittered)


def random_scale(
    generator: np.random.Generator, image: np.ndarray, label: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """An image larger or smaller by a random factor, in a frame of the old size.

    The logarithm of the factor is uniform, so that halving is as likely as doubling. The place is
    random: which crop of a larger image is taken, or where in the frame a smaller one stands,
    with 0 and VOID around it as in a batch. Labels take the nearest pixel: none is invented.

    Args:
      generator: of factor and place.
      image: uint8 [H, W, 3].
      label: uint8 [H, W].
      low, high: bounds of the factor, above 0.

    Returns:
      (image, label) of the same shapes.
    """
    height, width = label.shape
    factor = math.exp(generator.uniform(math.log(low), math.log(high)))
    rows, columns = max(1, round(factor * height)), max(1, round(factor * width))
    image = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
    label = np.asarray(Image.fromarray(label).resize((columns, rows), Image.Resampling.NEAREST))
    # Where the smaller of the two, image and frame, begins in the larger.
    top = generator.integers(abs(rows - height) + 1)
    left = generator.integers(abs(columns - width) + 1)
    if factor > 1:
        crop = np.s_[top : top + height, left : left + width]
        return image[crop], label[crop]
    framed = np.zeros((height, width, 3), np.uint8), np.full((height, width), VOID, np.uint8)
    for frame, small in zip(framed, (image, label), strict=True):
        frame[top : top + rows, left : left + columns] = small
    return framed


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
