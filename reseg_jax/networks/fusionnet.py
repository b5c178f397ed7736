"""FusionNet: a U-Net of residual blocks, whose skips are added in place of concatenated.

Paper: Quan, Hildebrand and Jeong, "FusionNet: A deep fully residual convolutional neural network
for image segmentation in connectomics", 2016 (Frontiers in Computer Science 2021), figure 2.

    block     convolution; three convolutions around which their input is added; convolution
    down      for each level: a block, then a 2x2 max pooling
    bridge    a block
    up        for each level: 2x2 transposed convolution, the block at this level of the way down
              added, a block
    logits    a 3x3 convolution

Every convolution is 3x3, with batch normalization and ReLU; a sum is taken before its ReLU.

Dimension key: `B H W` image axes, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.conv_norm import ConvNorm
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.norm import BatchNorm
from reseg_jax.layers.pooling import max_pool
from reseg_jax.layers.upsample import UpConvolution
from reseg_jax.networks.base import PIXELS, NetworkConfig, check_levels, check_no_backbone


@dataclasses.dataclass(frozen=True, kw_only=True)
class FusionNetConfig(NetworkConfig):
    """FusionNet (Quan et al. 2016), figure 2. Without arguments: the paper's, for RGB images.

    Attributes:
      channels: of each level from the top, the bridge's last; they set the number of levels.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)

    def __post_init__(self):
        check_no_backbone("FusionNet", self.backbone)
        super().__post_init__()
        check_levels(self.channels, "bridge")

    @property
    def stride(self) -> int:
        """Image pixels per cell of the bridge."""
        return 2 ** (len(self.channels) - 1)


class ResidualBlock(nn.Module):
    """[B, H, W, C] -> [B, H, W, channels]: see the top of this file.

    Attributes:
      channels: of all five convolutions.
      dtype: see `NetworkConfig`.
    """

    channels: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """`train` and `weight` as for `BatchNorm`."""

        def layer(x, name, relu=True):
            convolution = ConvNorm(self.channels, relu=relu, dtype=self.dtype, name=name)
            return convolution(x, train=train, weight=weight)

        x = layer(x, "first")
        y = layer(layer(x, "inner_0"), "inner_1")
        x = nn.relu(x + layer(y, "inner_2", relu=False))
        return layer(x, "last")


class FusionNet(nn.Module):
    """All of it.

    Parameters of level l are below `down_l`, `upsample_l`, `norm_l` and `up_l`, the others below
    `bridge` and `classifier`.
    """

    config: FusionNetConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of preprocessed images, see `networks.base`.

        Args:
          maps: {"pixels": [B, H, W, 3]} with H and W multiples of `FusionNetConfig.stride`.
          train: batch normalization by the statistics of the batch.
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: not used; images must fill their array.

        Returns:
          [B, H, W, K].
        """
        del valid_size
        config, x, skips = self.config, maps[PIXELS], []
        context = {"train": train, "weight": weight}
        *above, bridge = config.channels
        for level, channels in enumerate(above):
            x = ResidualBlock(channels, config.dtype, name=f"down_{level}")(x, **context)
            skips.append(x)
            x = max_pool(x)
        x = ResidualBlock(bridge, config.dtype, name="bridge")(x, **context)
        for level, channels in reversed(list(enumerate(above))):
            x = UpConvolution(channels, config.dtype, name=f"upsample_{level}")(x)
            norm = BatchNorm(output_dtype=config.dtype, name=f"norm_{level}")
            x = nn.relu(norm(x, **context)) + skips[level]
            x = ResidualBlock(channels, config.dtype, name=f"up_{level}")(x, **context)
        classifier = Convolution(config.outputs, kernel_init=he_normal, name="classifier")
        return classifier(x.astype(jnp.float32))


Config, Network = FusionNetConfig, FusionNet
