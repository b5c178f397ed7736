"""Convolution, batch normalization and ReLU: what most networks after 2015 are made of.

Dimension key: `B H W` image axes, `C` channels.
"""

import flax.linen as nn
import jax

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import Initializer, he_normal
from reseg_jax.layers.norm import BatchNorm
from reseg_jax.layers.pooling import unpool


class ConvNorm(nn.Module):
    """[B, H, W, C] -> [B, H, W, channels]; smaller with the padding "VALID" or a stride.

    Parameters are below `conv` and `norm`.

    Attributes:
      channels: of the result.
      kernel_size: (height, width).
      padding: as for `Convolution`.
      dilation: pixels from one entry of the kernel to the next.
      stride: pixels from one window to the next, as for `Convolution`.
      use_bias: add a bias before the normalization, which takes it off again; released networks
        have it, and so their counts of parameters.
      relu: max(0, y) at the end.
      kernel_init: by default He's, which is for what a ReLU follows.
      dtype: of the product and of what is returned, see `reseg_jax.layers.mixed`; None: x's.
    """

    channels: int
    kernel_size: tuple[int, int] = (3, 3)
    padding: str = "SAME"
    dilation: int = 1
    stride: int = 1
    use_bias: bool = True
    relu: bool = True
    kernel_init: Initializer = he_normal
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """`train` and `weight` as for `BatchNorm`."""
        x = Convolution(
            self.channels,
            self.kernel_size,
            self.padding,
            dilation=self.dilation,
            stride=self.stride,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        x = BatchNorm(output_dtype=self.dtype, name="norm")(x, train=train, weight=weight)
        return nn.relu(x) if self.relu else x


class UnpoolBlock(nn.Module):
    """What was pooled put back by its switches, and made dense by 3x3 convolutions.

    A block of the decoders of SegNet and DeconvNet. Parameters are below `0`, `1`, ...

    Attributes:
      channels: of each convolution.
      dtype: as for `ConvNorm`.
    """

    channels: tuple[int, ...]
    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        maps: dict[str, jax.Array],
        block: int,
        *,
        train: bool,
        weight: jax.Array | None = None,
    ) -> jax.Array:
        """[B, h, w, C] -> [B, H, W, channels].

        Args:
          x: of the size of the block's pooled map.
          maps: "switches1", ... of the encoder's poolings.
          block: the number of the pooling that is undone. Its input was of the size of the pooled
            map above, which an odd size shows; that of the first one is taken to be even.
          train, weight: as for `BatchNorm`.
        """
        above = maps.get(f"switches{block - 1}")
        x = unpool(x, maps[f"switches{block}"], None if above is None else above.shape[1:3])
        for index, channels in enumerate(self.channels):
            layer = ConvNorm(channels, dtype=self.dtype, name=str(index))
            x = layer(x, train=train, weight=weight)
        return x
