"""Transposed convolutions: filter as large as the stride, twice as large, bilinear, and constant.

A transposed convolution of stride f paints the filter, times each cell's value, at f times the
cell's place, and adds up what overlaps:

    y[f i + a, f j + b] += x[i, j] K[a, b]

Dimension key: `B H W` image axes, `C` channels in, `F` channels out, `h w` filter, `f` stride.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from reseg_jax.layers.initializers import glorot_uniform, he_normal
from reseg_jax.layers.mixed import add_bias, cast


def transposed_conv(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """A transposed convolution whose stride is the size of its filter (paper section 3.2).

    The painted squares do not overlap, so the layer is one matrix product: pixel (a, b) of cell
    (i, j) is x[i, j] @ kernel[a, b] + bias. The gradient of `lax.conv_transpose` takes several
    times the rest of the network on a CPU.

    Args:
      x: [B, H, W, C].
      kernel: [h, w, C, F].
      bias: [F].

    Returns:
      [B, H, W, h, w, F], the pixels of each cell still with their cell: see `depth_to_space`.
    """
    h, w, channels, filters = kernel.shape
    matrix = kernel.transpose(2, 0, 1, 3).reshape(channels, h * w * filters)
    return add_bias((x @ matrix).reshape(*x.shape[:-1], h, w, filters), bias)


def depth_to_space(x: jax.Array) -> jax.Array:
    """[B, H, W, h, w, F] -> [B, h H, w W, F]: pixel (a, b) of cell (i, j) to (h i + a, w j + b).

    A layer that sees each pixel by itself gives the same before it as after.
    """
    batch, height, width, h, w, filters = x.shape
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * h, width * w, filters)


def nearest_upsample(x: jax.Array, factor: int) -> jax.Array:
    """Every cell as a square of f x f equal pixels: [B, H, W, C] -> [B, f H, f W, C].

    Args:
      x: [B, H, W, C].
      factor: f.
    """
    batch, height, width, channels = x.shape
    squares = (batch, height, width, factor, factor, channels)
    return depth_to_space(jnp.broadcast_to(x[:, :, :, None, None], squares))


class TransposedConv(nn.Module):
    """`transposed_conv` with its parameters, and the ReLU that follows it (section 4.2).

    Returns pixels still with their cell: [B, H, W, C] -> [B, H, W, h, w, F].

    Attributes:
      channels: F.
      size: (h, w) of the filter, and its stride.
      dtype: of the product and of what is returned, see `reseg_jax.layers.mixed`; None: x's.
    """

    channels: int
    size: tuple[int, int]
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # "fan-in plus fan-out initialization" (section 4.2): Glorot, uniform as in the
        # released code; the filter's area counts in both fans.
        kernel = self.param(
            "kernel",
            glorot_uniform,
            (*self.size, x.shape[-1], self.channels),
        )
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return nn.relu(transposed_conv(*cast(self.dtype, x, kernel), bias))


class UpConvolution(nn.Module):
    """U-Net's "up-convolution", 2x2, stride 2, linear: [B, H, W, C] -> [B, 2 H, 2 W, channels].

    Drawn with variance 2 / C (Ronneberger et al. 2015, section 3: 2 / N with the N inputs of a
    neuron, and a pixel reads one place of the filter).

    Attributes:
      channels: of the result.
      dtype: as for `TransposedConv`.
    """

    channels: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = functools.partial(he_normal, area=False)
        kernel = self.param("kernel", init, (2, 2, x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return depth_to_space(transposed_conv(*cast(self.dtype, x, kernel), bias))


def _bilinear_line(size):
    """The bilinear kernel along one axis: Caffe's `bilinear` filler.

    With factor f = ceil(size / 2): 1 - |a / f - c| and c = (2 f - 1 - f mod 2) / (2 f). For an odd
    factor the last entry of 2 f is 0, so that the middle of a cell falls on a pixel.
    """
    factor = -(-size // 2)
    center = (2 * factor - 1 - factor % 2) / (2 * factor)
    return 1 - np.abs(np.arange(size) / factor - center)


def bilinear_kernel(size: int) -> np.ndarray:
    """The kernel with which a transposed convolution interpolates linearly along both axes.

    Args:
      size: of the filter; 2 f for an upsampling by f.

    Returns:
      float32 [size, size]: for 4 the products of (1, 3, 3, 1) / 4.
    """
    line = _bilinear_line(size)
    return np.outer(line, line).astype(np.float32)


def bilinear_upsample(x: jax.Array, factor: int, full: bool = False) -> jax.Array:
    """Upsampling by a transposed convolution with the fixed bilinear kernel of size 2 f.

    As FCN's (Long, Shelhamer and Darrell 2015, section 3.3), each channel by itself. Pixel centers
    are aligned; beyond the image are zeros, which reach its outermost f / 2 pixels. Interpolation
    is linear along either axis, so it is computed as two small matrix products.

    Args:
      x: float32 [B, H, W, C].
      factor: f.
      full: keep what lies around the image, for networks that crop it themselves.

    Returns:
      [B, f H, f W, C]; if full, [B, (H + 1) f, (W + 1) f, C], which begins f // 2 pixels earlier.
    """
    # In full precision, as `jax.image.resize` does it: some devices would round to 10 bits.
    rows, columns = (_bilinear_matrix(length, factor, full) for length in x.shape[1:3])
    highest = lax.Precision.HIGHEST
    x = jnp.einsum("pw,bhwc->bhpc", columns, x, precision=highest)
    return jnp.einsum("oh,bhpc->bopc", rows, x, precision=highest)


def _bilinear_matrix(cells, factor, full):
    """float32 [pixels, cells]: how much of each cell a pixel receives along an axis."""
    painted = np.zeros(((cells + 1) * factor, cells), np.float32)
    for i in range(cells):
        painted[i * factor : (i + 2) * factor, i] = _bilinear_line(2 * factor)
    return painted if full else painted[factor // 2 :][: cells * factor]


def align_corners_upsample(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Linear interpolation between corners that lie on corners: PyTorch's `align_corners=True`.

    Pixel p of m is at p (n - 1) / (m - 1) of n cells; each channel by itself.

    Args:
      x: [B, h, w, C].
      size: (H, W), none smaller than (h, w).

    Returns:
      [B, H, W, C].
    """
    rows, columns = (
        jnp.asarray(_corner_matrix(cells, pixels), x.dtype)
        for cells, pixels in zip(x.shape[1:3], size, strict=True)
    )
    highest = lax.Precision.HIGHEST  # see `bilinear_upsample`
    x = jnp.einsum("pw,bhwc->bhpc", columns, x, precision=highest)
    return jnp.einsum("oh,bhpc->bopc", rows, x, precision=highest)


def _corner_matrix(cells, pixels):
    """float64 [pixels, cells]: how much of each cell a pixel receives along an axis."""
    places = np.linspace(0, cells - 1, pixels)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells)))


def overlapping_transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A transposed convolution whose filter is twice as large as its stride f.

    A square of f x f pixels receives from four cells, whose values side by side make it one matrix
    product; see `transposed_conv` for why.

    Args:
      x: [B, H, W, C].
      kernel: [2 f, 2 f, C, F].

    Returns:
      [B, (H + 1) f, (W + 1) f, F]: all that is painted.
    """
    factor, (_, _, channels, filters) = kernel.shape[0] // 2, kernel.shape
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Quarter (a, b) of the filter is painted by the cell that is a squares higher, b to the left.
    x = jnp.concatenate(
        [
            x[:, 1 - a : height + 2 - a, 1 - b : width + 2 - b]
            for a, b in ((0, 0), (0, 1), (1, 0), (1, 1))
        ],
        axis=-1,
    )
    quarters = kernel.reshape(2, factor, 2, factor, channels, filters)
    matrix = quarters.transpose(0, 2, 4, 1, 3, 5).reshape(4 * channels, factor * factor * filters)
    return depth_to_space((x @ matrix).reshape(*x.shape[:-1], factor, factor, filters))


class OverlappingTransposedConv(nn.Module):
    """`overlapping_transposed_conv` with its kernel, which begins as `bilinear_upsample`.

    The learned upsampling of FCN (Long, Shelhamer and Darrell 2015, section 3.3): without a bias,
    and at the start channel c interpolates channel c.

    Attributes:
      channels: F.
      factor: f; the filter has 2 f x 2 f pixels.
      crop: None for [B, f H, f W, F], pixel centers aligned; "full" for all that is painted,
        [B, (H + 1) f, (W + 1) f, F], which begins f // 2 pixels earlier.
    """

    channels: int
    factor: int
    crop: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = 2 * self.factor
        kernel = self.param("kernel", _bilinear_init, (size, size, x.shape[-1], self.channels))
        painted = overlapping_transposed_conv(x, kernel)
        if self.crop == "full":
            return painted
        start = self.factor // 2
        rows, columns = (slice(start, start + n * self.factor) for n in x.shape[1:3])
        return painted[:, rows, columns]


def _bilinear_init(key, shape):
    """[size, size, C, F]: the bilinear kernel from each channel to the one of the same number."""
    del key
    same = np.eye(*shape[2:], dtype=np.float32)
    return jnp.asarray(bilinear_kernel(shape[0])[..., None, None] * same)
