"""Training images changed at random: enlarged or reduced, cut, mirrored, and in other colours.

Ours, as is customary; the paper has none. Where mirroring is all, it is `data.pipeline`'s.

Dimension key: `H W` image axes.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance

from data.example import Example
from reseg_jax.config import VOID


class Augmented:
    """Examples as a source of batches, other pictures of them in every epoch.

    scale:    (low, high), see `rescaled`; (1, 1) leaves sizes as they are.
    colour:   see `recoloured`; 0 leaves colours as they are.
    flip:     mirror with probability 1/2.
    versions: so many pictures there are of an example, which the epochs show in turn; the first
              is the example itself. 0: there is no end of them.
    """

    per_epoch = True

    def __init__(
        self,
        examples: Sequence[Example],
        seed: int = 0,
        scale: tuple[float, float] = (1.0, 1.0),
        colour: float = 0.0,
        flip: bool = False,
        versions: int = 0,
    ):
        self.examples, self.seed, self.scale, self.colour = examples, seed, scale, colour
        self.flip, self.versions = flip, versions

    def __len__(self):
        return len(self.examples)

    def get(
        self, index: int, flipped: bool, epoch: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(image [H, W, 3], label [H, W]), both uint8: a function of seed, epoch and index.

        flipped: with left and right exchanged, once more. Without an epoch the example itself,
        which is of the same size.
        """
        example = self.examples[index]
        image, label = example.image, example.label
        if self.versions and epoch is not None:
            epoch = epoch % self.versions or None
        if epoch is not None:
            # Zeros at the end of a seed do not count: the 1 keeps example 0 from drawing the
            # numbers that order the epoch's batches.
            generator = np.random.default_rng([self.seed, epoch, index, 1])
            if self.colour:
                image = recoloured(generator, image, self.colour)
            if self.scale != (1, 1):
                image, label = rescaled(generator, image, label, *self.scale)
            flipped ^= self.flip and generator.random() < 0.5
        return (image[:, ::-1], label[:, ::-1]) if flipped else (image, label)


class Cropped:
    """A source of batches that gives a part of what `source` gives, another in every epoch."""

    per_epoch = True

    def __init__(self, source, seed: int, share: float):
        self.source, self.seed, self.share = source, seed, share

    def __len__(self):
        return len(self.source)

    def get(
        self, index: int, flipped: bool, epoch: int | None = None
    ) -> tuple[np.ndarray | tuple, np.ndarray]:
        """(image or features, label) of a `part`: a function of seed, epoch and index.

        Without an epoch the upper left one.
        """
        epochs = (epoch,) if getattr(self.source, "per_epoch", False) else ()
        image, label = self.source.get(index, flipped, *epochs)
        # The 2 keeps example 0 from drawing the numbers of `Augmented`.
        generator = None if epoch is None else np.random.default_rng([self.seed, epoch, index, 2])
        return part(generator, image, label, self.share)


def recoloured(generator: np.random.Generator, image: np.ndarray, share: float) -> np.ndarray:
    """uint8 [H, W, 3] with brightness, contrast and saturation times a factor each.

    The factors are uniform in 1 - share .. 1 + share; contrast is about the mean grey of the
    image, saturation about the grey of the pixel.
    """
    changed = Image.fromarray(image)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        changed = enhance(changed).enhance(generator.uniform(1 - share, 1 + share))
    return np.asarray(changed)


def rescaled(
    generator: np.random.Generator, image: np.ndarray, label: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] and [H, W] larger by a factor in low .. high, in a frame of the old size.

    The logarithm of the factor is uniform, so that halving is as likely as doubling. The place is
    random: which part of a larger image is cut out, or where in the frame a smaller one stands,
    with 0 and VOID around it as in a batch. Labels take the nearest pixel: none is invented.
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
        cut = np.s_[top : top + height, left : left + width]
        return image[cut], label[cut]
    framed = np.zeros((height, width, 3), np.uint8), np.full((height, width), VOID, np.uint8)
    for frame, part in zip(framed, (image, label), strict=True):
        frame[top : top + rows, left : left + columns] = part
    return framed


def part(
    generator: np.random.Generator | None,
    image: np.ndarray | tuple[np.ndarray, ...],
    label: np.ndarray,
    share: float,
) -> tuple[np.ndarray | tuple[np.ndarray, ...], np.ndarray]:
    """A random part, `share` of the height and of the width; without a generator the upper left.

    image: [H, W, C], or features of it, one map or several. The part begins and ends between
    cells of the coarsest map, so that all show the same pixels; features have seen beyond it.
    """
    maps = image if isinstance(image, tuple) else (image,)
    # Pixels a cell, by map and axis; a last cell that the image does not fill is never shown.
    strides = [np.rint(np.divide(label.shape, one.shape[:2])).astype(int) for one in maps]
    coarsest = np.max(strides, axis=0)
    cells = label.shape // coarsest
    size = np.maximum(1, np.rint(share * cells)).astype(int)
    start = np.zeros(2, int) if generator is None else generator.integers(cells - size + 1)

    def cut(one, stride):
        (top, left), (bottom, right) = (at * coarsest // stride for at in (start, start + size))
        return one[top:bottom, left:right]

    found = tuple(map(cut, maps, strides))
    return found if isinstance(image, tuple) else found[0], cut(label, 1)
