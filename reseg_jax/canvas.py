"""Canvases that images of many sizes are put on, so that few programs are compiled.

JAX compiles a program for every shape, which takes seconds. An image in the upper left of a canvas
gives what it gives alone: the network is told how much of the canvas is `reseg_jax.padding`.

Dimension key: `B H W C` image axes.
"""

import math

import numpy as np

from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError

_WASTE = 1.25**2  # A canvas has at most so many times the pixels of its image: ours.


def place(images: np.ndarray, size: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """[B, h, w, C] as [B, H, W, C] on a canvas of `size` (H, W), and its `inside`.

    Unchanged, and None, for a canvas of None or of the images' own size. A UserError if they do
    not fit.
    """
    inside = images.shape[1:3]
    if size is None or tuple(size) == inside:
        return images, None
    room = [(0, have - used) for have, used in zip(size, inside, strict=True)]
    if min(room)[1] < 0:
        raise UserError(f"images of {inside} do not fit a canvas of {size}: give a larger one")
    return np.pad(images, ((0, 0), *room, (0, 0))), np.asarray(inside, np.int32)


class Canvases:
    """The canvas of each image, in whatever order they come: few, and not much larger.

    The first size is a canvas as it is, so that images of one size are never padded. Where
    `config.sees_end`, every image has its own.
    """

    def __init__(self, config: ReSegConfig):
        self.config, self.known = config, []

    def holding(self, size: tuple[int, int]) -> tuple[int, int]:
        """The canvas (H, W) for an image of `size` (h, w)."""
        if self.config.sees_end:
            return size
        pixels = math.prod(size)
        fitting = [
            canvas
            for canvas in self.known
            if canvas[0] >= size[0] and canvas[1] >= size[1]
            if math.prod(canvas) <= _WASTE * pixels
        ]
        if fitting:
            return min(fitting, key=math.prod)
        if self.known:
            size = tuple(map(_rounded_up, size))
        self.known.append(size)
        return size


def _rounded_up(length):
    """To three significant binary digits, by less than a quarter: others will fit it, too."""
    step = 1 << max(0, length.bit_length() - 3)
    return -(-length // step) * step
