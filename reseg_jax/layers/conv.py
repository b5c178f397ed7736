"""3x3 convolutions, and a gradient of their kernel that a CPU computes quickly.

    y[i, j] = sum_{a, b} x[i + a - 1, j + b - 1] K[a, b]          zeros around x
    dK[a, b] = sum_{i, j} x[i + a - 1, j + b - 1]^T dy[i, j]

XLA computes the sum for dK on a CPU as a convolution whose kernel is as large as the image, in
several times the time of the two others. Here it is a product a block of rows: the nine shifted
copies of x side by side, times dy. Blocks stay small enough for a core's cache. Other devices
have libraries for it, and use them.

Dimension key: `B H W` image axes, `C` channels in, `F` channels out.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

# Rows a product: of 1, 2, 3, 4, 6, 12 and 30 the quickest at VGG's sizes, or close (AMD EPYC).
_ROWS = 2


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, H, W, C], [3, 3, C, F] -> [B, H, W, F], zeros around the image."""
    return _convolve(x, kernel)


def _convolve(x, kernel):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
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
    """dK [3, 3, C, F], summed up block by block; each image by itself, as devices have them."""
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
        ours = lax.dynamic_slice_in_dim(dy, block * _ROWS, _ROWS, axis=1)
        return dk + jnp.einsum("bhwc,bhwf->bcf", shifted, ours), None

    dk = jnp.zeros((batch, 9 * channels, outputs), x.dtype)
    dk, _ = lax.scan(add, dk, jnp.arange(blocks))
    return dk.sum(axis=0).reshape(3, 3, channels, outputs)


convolve.defvjp(_forward, _backward)


class Convolution(nn.Module):
    """`convolve` with its parameters, and a bias: [B, H, W, C] -> [B, H, W, channels]."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (3, 3, x.shape[-1], self.channels)
        # Of as many channels out as in, as after a skip, the deviation is Glorot's too.
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return convolve(x, kernel) + self.param("bias", nn.initializers.zeros, (self.channels,))
