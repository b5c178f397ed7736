"""Transposed convolutions whose filter is as large as their stride (paper section 3.2).

Dimension key: `B H W` image axes, `C` channels in, `F` channels out, `h w` filter.
"""

import flax.linen as nn
import jax


def paint(image: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H, W, h, w, F]: the pixels of each cell, still with their cell.

    With stride equal to filter the painted squares do not overlap, so the layer is one matrix
    product: pixel (a, b) of cell (i, j) is image[i, j] @ kernel[a, b] + bias. The gradient of
    `lax.conv_transpose` takes several times the rest of the network on a CPU.

    kernel: [h, w, C, F]; bias: [F].
    """
    h, w, channels, filters = kernel.shape
    matrix = kernel.transpose(2, 0, 1, 3).reshape(channels, h * w * filters)
    return (image @ matrix).reshape(*image.shape[:-1], h, w, filters) + bias


def arrange(painted: jax.Array) -> jax.Array:
    """[B, H, W, h, w, F] -> [B, h H, w W, F]: pixel (a, b) of cell (i, j) to (h i + a, w j + b).

    What looks at each pixel alone gives the same before it as after.
    """
    batch, height, width, h, w, filters = painted.shape
    return painted.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * h, width * w, filters)


class TransposedConv(nn.Module):
    """`paint` with its parameters, and the ReLU that follows it (section 4.2).

    Its pixels are to be arranged: [B, H, W, C] -> [B, H, W, h, w, F].
    """

    channels: int
    size: tuple[int, int]

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        # "fan-in plus fan-out initialization" (section 4.2): Glorot, uniform as in the
        # released code; the filter's area counts in both fans.
        kernel = self.param(
            "kernel",
            nn.initializers.glorot_uniform(),
            (*self.size, image.shape[-1], self.channels),
        )
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return nn.relu(paint(image, kernel, bias))
