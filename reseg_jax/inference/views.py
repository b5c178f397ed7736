"""Views of an image, enlarged or mirrored, and the way of their answers back to the image's pixels.

A large photo is resized some rows at a time, so that nothing beside it is as large.

Dimension key: `B H W` image axes, `C` channels or outputs.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax.errors import UserError

_STRIP = 1 << 24  # numbers in a strip, 64 MB; all probabilities of 16 CamVid frames


@dataclasses.dataclass(frozen=True)
class Views:
    """What is averaged besides the members. Without arguments: one view, nothing dropped.

    Attributes:
      flip: each image and its mirror image.
      scales: factors to enlarge the image by before the network sees it.
      samples: passes with dropout on; 0 is one pass that drops nothing.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    samples: int = 0

    def __post_init__(self):
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise UserError(f"scales={self.scales}: give factors above 0, for example 0.75,1,1.25")
        if self.samples < 0:
            raise UserError(f"samples={self.samples}: give a number of passes, or 0 for none")


ONE_VIEW = Views()
"""The image as it is."""


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) enlarged by `scale`, at least one pixel."""
    return tuple(max(1, round(scale * length)) for length in size)


def rows_per_strip(batch: int, width: int, channels: int) -> int:
    """How many rows of [B, H, W, C] are computed at a time."""
    return max(1, _STRIP // (batch * width * channels))


def seen_as(maps: np.ndarray, size: tuple[int, int], mirrored: bool = False) -> np.ndarray:
    """Images as a view shows them: mirrored, and resized to `size`.

    Resizing is linear, and smoothed if it shrinks. Probabilities stay such: each result is a
    weighted mean.

    Args:
      maps: [B, H, W, C].
      size: (h, w).
      mirrored: whether left becomes right.

    Returns:
      [B, h, w, C].
    """
    if mirrored:
        maps = maps[:, :, ::-1]
    if maps.shape[1:3] == size:
        return maps
    if maps.size > _STRIP:  # a large photo: first its rows, some at a time
        batch, _, width, channels = maps.shape
        rows = rows_per_strip(batch, width, channels)
        parts = [maps[:, top : top + rows] for top in range(0, maps.shape[1], rows)]
        narrow = [fetched(_resized(part, (part.shape[1], size[1]))) for part in parts]
        maps = np.concatenate(narrow, axis=1)
    return fetched(_resized(maps, size))


def rows_of(maps: np.ndarray, size: tuple[int, int], top: int, rows: int) -> np.ndarray:
    """`rows` rows from `top` of [B, h, w, C] as they are when resized to `size`."""
    if rows >= size[0]:
        return seen_as(maps, size)
    if maps.shape[1:3] == size:
        return maps[:, top : top + rows]
    begin = min(top, size[0] - rows)  # so that all strips are of one shape
    return fetched(_resized_rows(maps, size, rows, begin))[:, top - begin :]


def fetched(array: jax.Array) -> np.ndarray:
    """As NumPy's, which compiles nothing for each size; and the program that gives it has ended.

    Two programs at once, each divided over the devices, may hold one device each and wait for the
    other for ever (seen on two CPU cores, jaxlib 0.10.2). NumPy waits for one copy only.
    """
    return np.asarray(jax.block_until_ready(array))


@functools.partial(jax.jit, static_argnums=1)
def _resized(maps, size):
    shape = (maps.shape[0], *size, maps.shape[3])
    return jax.image.resize(maps.astype(jnp.float32), shape, "linear")


@functools.partial(jax.jit, static_argnums=(1, 2))
def _resized_rows(maps, size, rows, begin):
    shape = (maps.shape[0], rows, size[1], maps.shape[3])
    factors = jnp.float32(size) / jnp.float32(maps.shape[1:3])
    shift = jnp.stack([-begin, jnp.zeros_like(begin)]).astype(jnp.float32)
    return jax.image.scale_and_translate(maps, shape, (1, 2), factors, shift, "linear")
