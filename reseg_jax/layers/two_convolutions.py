"""Two 3x3 convolutions, each with ReLU: what a level of U-Net does on either way.

Paper: Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image
segmentation", MICCAI 2015, section 2.

Dimension key: `B H W` image axes, `C` channels.
"""

import flax.linen as nn
import jax

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.norm import BatchNorm


class TwoConvolutions(nn.Module):
    """Twice a 3x3 convolution, batch normalization if wanted, and ReLU.

    Parameters are below `conv_0`, `norm_0`, `conv_1` and `norm_1`.

    Attributes:
      channels: of both.
      padding: "same", zeros around every map, or "valid", none.
      batch_norm: normalize between each convolution and its ReLU; not in the paper.
      dtype: of products and of what is returned, see `reseg_jax.layers.mixed`; None: x's.
    """

    channels: int
    padding: str = "same"
    batch_norm: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, channels]; [B, H - 4, W - 4, channels] if not padded.

        `train` and `weight` as for `BatchNorm`.
        """
        for i in range(2):
            x = Convolution(
                self.channels,
                padding=self.padding.upper(),
                relu=not self.batch_norm,
                kernel_init=he_normal,
                dtype=self.dtype,
                name=f"conv_{i}",
            )(x)
            if self.batch_norm:
                norm = BatchNorm(output_dtype=self.dtype, name=f"norm_{i}")
                x = nn.relu(norm(x, train=train, weight=weight))
        return x
