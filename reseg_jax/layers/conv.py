"""Convolutions of stride 1, and for 3x3 a gradient of the kernel that a CPU computes quickly.

    y[i, j] = sum_{a, b} x[i + a - 1, j + b - 1] K[a, b]          zeros around x
    dK[a, b] = sum_{i, j} x[i + a - 1, j + b - 1]^T dy[i, j]

XLA computes the sum for dK on a CPU as a convolution whose kernel is as large as the image, in
several times the time of the two others. Here it is one product per block of rows: the nine
shifted copies of x side by side, times dy. Blocks stay small enough for a core's cache. Other
devices have libraries for it, and use them.

Dimension key: `B H W` image axes, `C` channels in, `F` channels out.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from reseg_jax.layers.initializers import Initializer, lecun_normal

# Rows per product: of 1, 2, 3, 4, 6, 12 and 30 the quickest at VGG's sizes, or close (AMD EPYC).
_ROWS = 2


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 3x3 convolution, zeros around the image.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, F].

    Returns:
      [B, H, W, F], see the top of this file.
    """
    return _convolve(x, kernel)


def _convolve(x, kernel, padding="SAME", dilation=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _forward(x, kernel):
    return _convolve(x, kernel), (x, kernel)


def _backward(saved, dy):
    x, kernel = saved
    _, gradient_of_x = jax.vjp(lambda x: _convolve(x, kernel), x)
    dk = lax.platform_dependent(x, dy, cpu=_by_rows, default=_by_convolution)
    return *gradient_of_x(dy), dk


def _by_convolution(x, dy):
    kernel = jnp.zeros((3, 3, x.shape[-1], dy.shape[-1]), x.dtype)
    _, gradient = jax.vjp(lambda kernel: _convolve(x, kernel), kernel)
    return gradient(dy)[0]


def _by_rows(x, dy):
    """dK [3, 3, C, F], summed up block by block; each image by itself: devices divide them."""
    (batch, height, width, channels), outputs = x.shape, dy.shape[-1]
    blocks = -(-height // _ROWS)
    missing = blocks * _ROWS - height
    x = jnp.pad(x, ((0, 0), (1, 1 + missing), (1, 1), (0, 0)))
    dy = jnp.pad(dy, ((0, 0), (0, missing), (0, 0), (0, 0)))

    def add(dk, block):
        rows = lax.dynamic_slice_in_dim(x, block * _ROWS, _ROWS + 2, axis=1)
        shifted = jnp.concatenate(
            [rows[:, a : a + _ROWS, b : b + width] for a in range(3) for b in range(3)], axis=-1
        )
        dy_rows = lax.dynamic_slice_in_dim(dy, block * _ROWS, _ROWS, axis=1)
        return dk + jnp.einsum("bhwc,bhwf->bcf", shifted, dy_rows), None

    dk = jnp.zeros((batch, 9 * channels, outputs), x.dtype)
    dk, _ = lax.scan(add, dk, jnp.arange(blocks))
    return dk.sum(axis=0).reshape(3, 3, channels, outputs)


convolve.defvjp(_forward, _backward)


class Convolution(nn.Module):
    """A convolution with its parameters: [B, H, W, C] -> [B, H', W', channels].

    Attributes:
      channels: F.
      kernel_size: (height, width).
      padding: "SAME", zeros around the image so that its size stays; or "VALID", no padding, which
        takes `dilation` times (kernel - 1) pixels off each axis.
      dilation: pixels from one entry of the kernel to the next.
      use_bias: add a bias, zero at first.
      kernel_init: by default LeCun's; for as many channels out as in its deviation is Glorot's.
    """

    channels: int
    kernel_size: tuple[int, int] = (3, 3)
    padding: str = "SAME"
    dilation: int = 1
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.kernel_size, x.shape[-1], self.channels)
        kernel = self.param("kernel", self.kernel_init, shape)
        if self.kernel_size == (1, 1):
            x = x @ kernel[0, 0]
        elif (self.kernel_size, self.padding, self.dilation) == ((3, 3), "SAME", 1):
            x = convolve(x, kernel)
        else:
            x = _convolve(x, kernel, self.padding, self.dilation)
        if not self.use_bias:
            return x
        return x + self.param("bias", nn.initializers.zeros, (self.channels,))[None, None, None]
