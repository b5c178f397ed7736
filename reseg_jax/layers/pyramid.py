"""Pyramid pooling: averages over a few large bins, beside the map that they are averages of.

Paper: Zhao, Shi, Qi, Wang and Jia, "Pyramid scene parsing network", CVPR 2017, section 3.2.

    bin i of b covers cells floor(i n / b) to ceil((i + 1) n / b) - 1 of an axis of n cells

so that bins share a cell wherever b does not divide n, as 6 does not divide 45. An average over
rectangles is one over the rows and then one over the columns: a product with a small matrix each.

Dimension key: `B H W` image axes, `C` channels, `b` bins.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from reseg_jax.layers.conv_norm import ConvNorm


def averaging_matrix(cells: int, bins: int) -> np.ndarray:
    """float32 [bins, cells]: the share of each cell in the average of each bin; rows add up to 1.

    Args:
      cells: n, at least 1.
      bins: b, at least 1; there may be more than cells.
    """
    numbers, places = np.arange(bins)[:, None], np.arange(cells)
    first, after = numbers * cells // bins, -(-(numbers + 1) * cells // bins)
    inside = (first <= places) & (places < after)
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def average_bins(x: jax.Array, bins: int) -> jax.Array:
    """Averages over `bins` x `bins` rectangles: PyTorch's adaptive average pooling.

    Args:
      x: [B, H, W, C].
      bins: b.

    Returns:
      float32 [B, b, b, C].
    """
    rows, columns = (averaging_matrix(side, bins) for side in x.shape[1:3])
    # In full precision: some devices would round to 10 bits.
    highest = lax.Precision.HIGHEST
    x = jnp.einsum("jw,bhwc->bhjc", columns, x.astype(jnp.float32), precision=highest)
    return jnp.einsum("ih,bhjc->bijc", rows, x, precision=highest)


class PyramidPooling(nn.Module):
    """[B, H, W, C] -> [B, H, W, C + len(bins) x channels]: the map and, of each size, its averages.

    These are projected by a 1x1 convolution, and interpolated linearly between the middles of bins.
    Parameters are below `bins_1`, ...

    Attributes:
      bins: b of each pooling.
      channels: of each projection.
      dtype: of the projections and of what is returned, see `reseg_jax.layers.mixed`; None: x's.
    """

    bins: tuple[int, ...]
    channels: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """`train` and `weight` as for `BatchNorm`."""
        dtype = self.dtype or x.dtype
        levels = [x.astype(dtype)]
        for bins in self.bins:
            how = {"use_bias": False, "dtype": dtype, "name": f"bins_{bins}"}
            layer = ConvNorm(self.channels, (1, 1), **how)
            level = layer(average_bins(x, bins), train=train, weight=weight)
            shape = (*x.shape[:3], self.channels)
            levels.append(jax.image.resize(level, shape, "linear", antialias=False))
        return jnp.concatenate(levels, axis=-1)
