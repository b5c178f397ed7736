"""Training images changed at random, otherwise in every epoch.

Customary, and not in the paper. If mirroring is all, it is `Batches`'.

Dimension key: `H W` image axes.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from data.appearance import add_noise, jitter_color, random_gamma
from data.geometry import random_scale, random_warp
from data.sources import Shape, Source, mirror

Change = Callable[[np.random.Generator, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(generator, image uint8 [H, W, 3], label uint8 [H, W]) -> (image, label) of the same shapes."""


@dataclasses.dataclass(frozen=True)
class Augmented:
    """A source that gives another version of each image of `source` in every epoch.

    Attributes:
      source: gives images uint8 [H, W, 3] and labels.
      seed: of all that is drawn.
      changes: what is done to an image and its label, one after another; see `random_changes`.
      flip: mirror with probability 1/2.
      num_augmented_copies: how many versions there are of an image, which the epochs give in turn;
        the first is the image itself. 0: each epoch has its own.
    """

    source: Source
    seed: int = 0
    changes: tuple[Change, ...] = ()
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
            for change in self.changes:
                image, label = change(generator, image, label)
            flipped ^= self.flip and generator.random() < 0.5
        return mirror(image, label) if flipped else (image, label)

    def shape(self, index: int) -> tuple[Shape, Shape]:
        """The source's: augmentation keeps sizes."""
        return self.source.shape(index)


def random_changes(
    *,
    color: float = 0.0,
    gamma: float = 0.0,
    elastic: float = 0.0,
    rotate: float = 0.0,
    aspect: float = 1.0,
    translate: int = 0,
    scale: tuple[float, float] = (1.0, 1.0),
    noise: float = 0.0,
) -> tuple[Change, ...]:
    """The changes that are asked for, in the order in which they are made.

    Args:
      color: strength of `jitter_color`.
      gamma: strength of `random_gamma`.
      elastic, rotate, aspect, translate: of `random_warp`.
      scale: (low, high) of `random_scale`.
      noise: deviation of `add_noise`, which comes last, so that nothing smooths it.

    Returns:
      The changes; none without arguments.
    """
    warp = {"elastic": elastic, "rotate": rotate, "aspect": aspect, "translate": translate}
    low, high = scale
    candidates = (
        (color, _of_image(jitter_color, color)),
        (gamma, _of_image(random_gamma, gamma)),
        (elastic or rotate or aspect != 1 or translate, functools.partial(random_warp, **warp)),
        (low != 1 or high != 1, functools.partial(random_scale, low=low, high=high)),
        (noise, _of_image(add_noise, noise)),
    )
    return tuple(change for wanted, change in candidates if wanted)


def _of_image(change, strength):
    """A change that leaves labels as they are."""
    return lambda generator, image, label: (change(generator, image, strength), label)
