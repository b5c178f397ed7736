"""Transposed convolutions whose filter is as large as their stride (paper section 3.2).

Dimension key: `B H W` image axes, `C` channels in, `F` channels out, `h w` filter.
"""

import flax.linen as nn
import jax


def transposed_conv(image: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, h H, w W, F]: cell (i, j) paints pixels (h i + a, w j + b).

    With stride equal to filter the painted squares do not overlap, so the layer is one matrix
    product and a depth-to-space: pixel (h i + a, w j + b) is image[i, j] @ kernel[a, b] + bias.
    The gradient of `lax.conv_transpose` takes several times the rest of the network on a CPU.

    kernel: [h, w, C, F]; bias: [F].
    """
    batch, height, width, channels = image.shape
    h, w, _, filters = kernel.shape
    matrix = kernel.transpose(2, 0, 1, 3).reshape(channels, h * w * filters)
    painted = (image @ matrix).reshape(batch, height, width, h, w, filters) + bias
    return painted.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * h, width * w, filters)


class TransposedConv(nn.Module):
    """`transposed_conv` with its parameters, and the ReLU that follows it (section 4.2)."""

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
        return nn.relu(transposed_conv(image, kernel, bias))
