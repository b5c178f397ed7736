"""ReSeg's upsampling: transposed convolutions, between which maps of the backbone may join.

Paper: Visin et al., "ReSeg", CVPR workshops 2016, section 3.2. Maps that join are not in the paper.

Dimension key: `B H W` image axes, `I J` cells at the start, `h w` cells in between, `C F` channels.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import glorot_uniform
from reseg_jax.layers.mixed import add_bias, cast
from reseg_jax.layers.upsample import TransposedConv, depth_to_space
from reseg_jax.padding import clear

Sizes = tuple[tuple[int, int], ...]
"""(height, width) of each upsampling."""


def strides(cell_size: tuple[int, int], sizes: Sizes) -> tuple[int | None, ...]:
    """Pixels that a cell spans after each upsampling; None if no square of whole pixels.

    Args:
      cell_size: (height, width) that a cell spans before the first one, in pixels.
      sizes: (height, width) of each upsampling.
    """
    found, (height, width) = [], cell_size
    for h, w in sizes:
        height, width = height / h, width / w
        whole = height == width and height.is_integer()
        found.append(int(height) if whole else None)
    return tuple(found)


def output_stride(cell_size: tuple[int, int], sizes: Sizes) -> tuple[float, float]:
    """Pixels that a cell spans after all upsamplings, (height, width), whole or not.

    Args:
      cell_size, sizes: as for `strides`.
    """
    upsampled = (math.prod(factors) for factors in zip(*sizes, strict=True))
    return tuple(n / m for n, m in zip(cell_size, upsampled, strict=True))


def check(
    skips: dict[str, int],
    upsampled: tuple[int | None, ...],
    tap: str,
    layers: tuple[str, ...],
    refine: bool,
) -> None:
    """Checks that maps are computed, and meet the upsampling at one of its strides.

    Args:
      skips: {map that joins: its stride}.
      upsampled: as from `strides`.
      tap: the map that the network reads.
      layers: those that the backbone computes on the way to it.
      refine: as for `Skip`.

    Raises:
      UserError: a map is not among `layers`, or of another stride; or there is none to refine.
    """
    if refine and not skips:
        raise UserError("refine=True needs skips, and there are none: set skips, or refine=False")
    for name, stride in skips.items():
        if name not in layers:
            raise UserError(
                f"skips: {name!r} is not computed on the way to tap={tap}; "
                f"known are: {', '.join(layers) or 'none'}"
            )
        if stride not in upsampled:
            raise UserError(
                f"skips: {name} has stride {stride}, but the upsampling passes "
                f"through {', '.join(map(str, upsampled))} only: choose another layer, or other "
                "upsample_sizes"
            )


class Skip(nn.Module):
    """Maps of the backbone joined to the upsampled ones of the same stride: not in the paper.

    Concatenated and mixed by a 1x1 convolution with ReLU, as wide as the upsampling is. With
    `refine` a 3x3 convolution then adds what neighbors tell: relu(x + convolution(x)).
    """

    normalize: bool
    refine: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, skip: jax.Array, valid_size: jax.Array | None = None
    ) -> jax.Array:
        """x [B, h, w, F], skip [B, <= h, <= w, C] -> [B, h, w, F]; padding is at the far ends.

        valid_size: pixels of x that count (`reseg_jax.padding`); beyond its own, a skip is zero.
        """
        if self.normalize:
            skip = jax.nn.standardize(skip)
        missing = [(0, have - got) for have, got in zip(x.shape[1:3], skip.shape[1:3], strict=True)]
        skip = jnp.pad(skip, ((0, 0), *missing, (0, 0)))
        width = x.shape[-1]
        kernel = self.param("kernel", glorot_uniform, (width + skip.shape[-1], width))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        x, skip, kernel = cast(self.dtype, x, skip, kernel)
        # The product of the two concatenated, without copying them together.
        x = nn.relu(add_bias(x @ kernel[:width] + skip @ kernel[width:], bias))
        if self.refine:
            refine = Convolution(width, dtype=self.dtype, name="refine")
            x = nn.relu(x + refine(clear(x, valid_size)))
        return x


class SkipUpsampling(nn.Module):
    """[B, I, J, C] -> [B, h, w, a, b, F], the last upsampling still to be put `in_order`.

    A 1x1 classifier gives the same before that as after it, and leaves fewer numbers to move. If a
    map joins after the last upsampling, it is [B, H, W, F]: all is in order.

    Parameters are below `upsample_0`, `upsample_1`, ... and `skip_NAME`.

    Attributes:
      channels: of each upsampling.
      sizes: (height, width) of each.
      strides: image pixels that a cell spans after each, as from `strides`.
      skips: (name, stride) of the maps that join.
      normalize: as for `Skip`.
      refine: as for `Skip`.
      dtype: of products, see `reseg_jax.layers.mixed`; None: x's.
    """

    channels: tuple[int, ...]
    sizes: Sizes
    strides: tuple[int | None, ...]
    skips: tuple[tuple[str, int], ...] = ()
    normalize: bool = False
    refine: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, maps: dict[str, jax.Array], valid_size: jax.Array | None = None
    ) -> jax.Array:
        """See the class; `maps` has those that join.

        valid_size: cells of x that count, int32 [2] or [B, 2] (`reseg_jax.padding`).
        """
        layers = zip(self.channels, self.sizes, self.strides, strict=True)
        for i, (channels, size, stride) in enumerate(layers):
            x = TransposedConv(channels, size, self.dtype, name=f"upsample_{i}")(in_order(x))
            if valid_size is not None:
                valid_size = valid_size * jnp.broadcast_to(jnp.int32(size), valid_size.shape)
            for name in (name for name, joins_at in self.skips if joins_at == stride):
                skip = Skip(self.normalize, self.refine, self.dtype, name=f"skip_{name}")
                x = skip(in_order(x), maps[name], valid_size)
        return x


def in_order(x: jax.Array) -> jax.Array:
    """[B, H, W, F] as it is, and [B, h, w, a, b, F] with its pixels put there."""
    return x if x.ndim == 4 else depth_to_space(x)
