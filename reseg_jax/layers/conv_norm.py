"""A convolution, batch normalization and ReLU: the step that most networks after 2015 are made of.

Dimension key: `B H W` image axes, `C` channels.
"""

import flax.linen as nn
import jax

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import Initializer, he_normal
from reseg_jax.layers.norm import BatchNorm


class ConvNorm(nn.Module):
    """[B, H, W, C] -> [B, H, W, channels]; zeros around the image.

    Parameters are below `conv` and `norm`.

    Attributes:
      channels: of the result.
      kernel_size: (height, width).
      dilation: pixels from one entry of the kernel to the next.
      use_bias: add a bias before the normalization, which takes it off again; released networks
        have it, and so their counts of parameters.
      relu: max(0, y) at the end.
      kernel_init: by default He's, which is for what a ReLU follows.
      dtype: of the product and of what is returned, see `reseg_jax.layers.mixed`; None: x's.
    """

    channels: int
    kernel_size: tuple[int, int] = (3, 3)
    dilation: int = 1
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
            dilation=self.dilation,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        x = BatchNorm(output_dtype=self.dtype, name="norm")(x, train=train, weight=weight)
        return nn.relu(x) if self.relu else x
