"""A branch of atrous spatial pyramid pooling: one dilation's view of a map.

Paper: Chen, Papandreou, Kokkinos, Murphy and Yuille, "DeepLab: Semantic image segmentation with
deep convolutional nets, atrous convolution, and fully connected CRFs", PAMI 2018, section 3.2 and
figure 7.

    fc6 = dropout(relu(k x k convolution of the map, dilated by the branch's rate))
    fc7 = dropout(relu(1x1 convolution of fc6))

Several of these, each with a rate and scores of its own, see a map at several scales; their scores
are added up.

Dimension key: `B h w` cells, `C` channels.
"""

import flax.linen as nn
import jax

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import he_normal


class AtrousBranch(nn.Module):
    """[B, h, w, C] -> [B, h, w, channels], fc7: see the top of this file.

    Parameters are below `fc6` and `fc7`.

    Attributes:
      channels: of fc6 and fc7.
      kernel_size: k.
      rate: cells from one entry of fc6's kernel to the next.
      dropout: share that is dropped after each layer, if there is a random key called "dropout".
      dtype: of products, see `reseg_jax.layers.mixed`; None: x's.
    """

    channels: int
    kernel_size: int
    rate: int
    dropout: float
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for name, size in (("fc6", self.kernel_size), ("fc7", 1)):
            x = Convolution(
                self.channels,
                (size, size),
                dilation=self.rate,
                relu=True,
                kernel_init=he_normal,
                dtype=self.dtype,
                name=name,
            )(x)
            x = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(x)
        return x
