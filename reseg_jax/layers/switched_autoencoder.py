"""SegNet-Basic's encoder and decoder: what is pooled is put back by the same switches.

Paper: Badrinarayanan, Kendall and Cipolla, "SegNet: A deep convolutional encoder-decoder
architecture for image segmentation", PAMI 2017, section 3.

    down      for each level: convolution, batch normalization, ReLU, 2x2 max pooling with switches
    up        from the deepest level: unpooling by the level's switches, convolution, batch
              normalization; these results are not rectified

Dimension key: `B H W` image axes, `C` channels.
"""

import functools

import flax.linen as nn
import jax

from reseg_jax.layers.conv_norm import ConvNorm
from reseg_jax.layers.pooling import max_pool_with_switches, unpool


class SwitchedAutoencoder(nn.Module):
    """[B, H, W, C] -> [B, H, W, channels]: see the top of this file.

    Parameters are below `down_1`, `down_2`, ... and `up_1`, `up_2`, ...

    Attributes:
      channels: of each convolution.
      dropout: share that is dropped, if there is a random key called "dropout".
      dropout_from: the first level with dropout, after its pooling and after its convolution up.
      dtype: as for `ConvNorm`.
      kernel_size: (height, width) of each convolution.
      levels: the number of poolings.
    """

    channels: int
    dropout: float = 0.0
    dropout_from: int = 1
    dtype: str | None = None
    kernel_size: tuple[int, int] = (7, 7)
    levels: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """`train` and `weight` as for `BatchNorm`."""
        layer = functools.partial(ConvNorm, self.channels, self.kernel_size, dtype=self.dtype)
        context, pooled = {"train": train, "weight": weight}, []
        for level in range(1, self.levels + 1):
            x = layer(name=f"down_{level}")(x, **context)
            size, (x, switches) = x.shape[1:3], max_pool_with_switches(x)
            pooled.append((level, switches, size))
            x = self._dropped(x, level)
        for level, switches, size in reversed(pooled):
            x = layer(relu=False, name=f"up_{level}")(unpool(x, switches, size), **context)
            x = self._dropped(x, level)
        return x

    def _dropped(self, x, level):
        if level < self.dropout_from:
            return x
        return nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(x)
