"""Full-resolution residual units: a pooled stream that adds to a stream of the image's size.

Paper: Pohlen, Hermans, Mathias and Leibe, "Full-resolution residual networks for semantic
segmentation in street scenes", CVPR 2017, section 3.

    residual unit       x' = x + F(x)                       F: convolution, ReLU, convolution
    FRRU                y' = G(y, z)                        G: two convolutions, each with ReLU
                        z' = z + unpool(y' W + b)

G reads y beside z, pooled to y's size. Every 3x3 convolution has batch normalization after it.

Dimension key: `B H W` image axes, `h w` cells of the pooled stream, `C D F` channels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.conv_norm import ConvNorm
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.pooling import max_pool
from reseg_jax.layers.upsample import nearest_upsample


class ResidualUnit(nn.Module):
    """[B, H, W, C] -> [B, H, W, C]: the input, and what two convolutions add to it.

    Attributes:
      dtype: as for `ConvNorm`.
    """

    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """`train` and `weight` as for `BatchNorm`."""
        shared, context = {"use_bias": False, "dtype": self.dtype}, {"train": train}
        first = ConvNorm(x.shape[-1], name="first", **shared)
        second = ConvNorm(x.shape[-1], relu=False, name="second", **shared)
        return x + second(first(x, weight=weight, **context), weight=weight, **context)


class FullResolutionResidualUnit(nn.Module):
    """y [B, h, w, C], z [B, H, W, D] -> y' [B, h, w, channels], z' [B, H, W, D].

    H and W are h and w times the same power of 2. The parameters of G are below `first` and
    `second`, those of what it adds to z below `residual`: if these are 0, z stays as it is.

    Attributes:
      channels: F of y'.
      dtype: as for `ConvNorm`.
    """

    channels: int
    dtype: str | None = None

    @nn.compact
    def __call__(
        self, y: jax.Array, z: jax.Array, *, train: bool, weight: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """`train` and `weight` as for `BatchNorm`."""
        pooled = z
        while pooled.shape[1] > y.shape[1]:  # maxima of maxima are those of the larger window
            pooled = max_pool(pooled)
        y = jnp.concatenate([y, pooled], axis=-1)
        for name in ("first", "second"):
            layer = ConvNorm(self.channels, use_bias=False, dtype=self.dtype, name=name)
            y = layer(y, train=train, weight=weight)
        residual = Convolution(
            z.shape[-1], (1, 1), kernel_init=he_normal, dtype=self.dtype, name="residual"
        )
        return y, z + nearest_upsample(residual(y), z.shape[1] // y.shape[1])
