"""Images that do not fill their array: padding that the network does not see, on shared sizes.

An image in the upper left of a larger array gives what it gives in an array of its own, if the
network is told its valid size: convolutions and patches find zeros beyond its last pixel, as
padding is, and backward sweeps begin at its last cell (`reseg_jax.recurrent.sweep`). The valid
size may be traced, so one compiled program serves images of many sizes. JAX compiles a program for
every array shape, which takes seconds: `CommonSizes` finds few shapes for images of many sizes.

Dimension key: `B H W C` image axes. `valid_size` is int32, how many rows and columns belong to the
image: [2] of all images alike, [B, 2] of each, or None if all do.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax.errors import UserError

_WASTE = 1.25**2  # An array has at most so many times the pixels of its image: our choice.


def valid_cells(valid_size: jax.Array, cell_size: int | tuple[int, int]) -> jax.Array:
    """How many rows and columns of cells of `cell_size` pixels it fills, the last ones in part."""
    return -(-valid_size // jnp.broadcast_to(jnp.asarray(cell_size, jnp.int32), valid_size.shape))


def sides(valid_size: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(rows, columns), each [] or [B]."""
    valid_size = jnp.asarray(valid_size)
    return valid_size[..., 0], valid_size[..., 1]


def clear(x: jax.Array, valid_size: jax.Array | None) -> jax.Array:
    """[B, H, W, C] with zeros beyond the valid size."""
    if valid_size is None:
        return x
    rows, columns = (
        jax.lax.iota(jnp.int32, length)[(None,) * n.ndim] < n[..., None]
        for length, n in zip(x.shape[1:3], sides(valid_size), strict=True)
    )
    return jnp.where((rows[..., :, None] & columns[..., None, :])[..., None], x, 0)


def pad_to(
    images: np.ndarray, size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images in the upper left of a larger array.

    Args:
      images: [B, h, w, C].
      size: (H, W); None, or the images' own size, leaves them as they are.

    Returns:
      ([B, H, W, C], their valid size [2]); the valid size is None if nothing was padded.

    Raises:
      UserError: the images are larger than `size`.
    """
    valid_size = images.shape[1:3]
    if size is None or tuple(size) == valid_size:
        return images, None
    room = [(0, have - used) for have, used in zip(size, valid_size, strict=True)]
    if min(room)[1] < 0:
        raise UserError(f"images of {valid_size} do not fit padded_size={size}: give a larger one")
    return np.pad(images, ((0, 0), *room, (0, 0))), np.asarray(valid_size, np.int32)


class CommonSizes:
    """A padded size for each image, in whatever order they come: few, and not much larger.

    The first size is used as it is, so that images of one size are never padded. A network without
    exact padding would see the padding: each of its images keeps its own size.
    """

    def __init__(self, exact_padding: bool):
        self.exact_padding, self.known = exact_padding, []

    def holding(self, size: tuple[int, int]) -> tuple[int, int]:
        """The padded size (H, W) for an image of `size` (h, w)."""
        if not self.exact_padding:
            return size
        pixels = math.prod(size)
        fitting = [
            known
            for known in self.known
            if known[0] >= size[0] and known[1] >= size[1]
            if math.prod(known) <= _WASTE * pixels
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
