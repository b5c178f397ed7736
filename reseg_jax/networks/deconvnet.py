"""DeconvNet: down to a single cell's worth of numbers, and the same way back.

Paper: Noh, Hong and Han, "Learning deconvolution network for semantic segmentation", ICCV 2015,
section 3 and figure 2.

    down      the 13 convolutions of VGG-16, fc6 (7x7, not padded) and fc7, each with batch
              normalization; poolings keep their switches
    up        a 7x7 transposed convolution undoes fc6; then for block 5 to 1: unpool, and as many
              transposed convolutions of stride 1 as the block has convolutions
    logits    1x1

A transposed convolution of stride 1 is a convolution with the kernel turned, zeros around it; so
they are convolutions here, the 7x7 one with 6 zeros around its map.

The paper's images have 224x224 pixels, and pool5 7x7 cells: fc6 sees it once. Larger images give
more cells; smaller ones are padded to that.

Dimension key: `B H W` image axes, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.backbones.vgg_layers import SWITCHES
from reseg_jax.errors import UserError
from reseg_jax.layers.conv_norm import ConvNorm, UnpoolBlock
from reseg_jax.layers.initializers import he_normal
from reseg_jax.networks.base import NetworkConfig

_FC6 = 7  # cells that fc6 reads along an axis
# No dropout beside batch normalization, as in the released network.
_BACKBONE = VGG16(trainable=True, batch_norm=True, fc_padding="VALID", dropout=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeconvNetConfig(NetworkConfig):
    """DeconvNet (Noh et al. 2015). Without arguments the paper's: fc6 has 4096 channels."""

    backbone: VGG16 | None = _BACKBONE
    preprocessing: str = "caffe"  # the weights that the way down begins with

    def __post_init__(self):
        if self.backbone is None or self.backbone.fc_padding != "VALID":
            raise UserError(
                "backbone: DeconvNet reads the fc7 of a VGG16 whose fc6 is not padded, so give one "
                "with fc_padding=VALID"
            )
        super().__post_init__()

    @property
    def taps(self) -> tuple[str, ...]:
        """fc7 and all switches, the deepest first."""
        return ("fc7", *reversed(SWITCHES))

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """A multiple of the stride, and at least fc6's 7 cells: 224."""
        return tuple(max(side, _FC6 * self.stride) for side in super().padded_size(size))

    @property
    def uses_dropout(self) -> bool:
        """After fc6 and fc7, which are the backbone's."""
        return self.backbone.trainable and self.backbone.dropout > 0


class DeconvNet(nn.Module):
    """The way up: parameters below `fc6_back`, `up_5`, ... `up_1`, `classifier`."""

    config: DeconvNetConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Logits from the maps of a backbone, see `networks.base`.

        Args:
          maps: {tap: [B, h, w, C]} of `DeconvNetConfig.taps`.
          train: batch normalization by the statistics of the batch.
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: not used; images must fill their array.

        Returns:
          [B, H, W, K].
        """
        del valid_size
        config, backbone, context = self.config, self.config.backbone, {"train": train}
        context["weight"] = weight
        around = (_FC6 - 1, _FC6 - 1)
        x = jnp.pad(maps["fc7"], ((0, 0), around, around, (0, 0)))
        back = ConvNorm(
            backbone.channels[-1], (_FC6, _FC6), "VALID", dtype=config.dtype, name="fc6_back"
        )
        x = back(x, **context)
        for block in range(len(backbone.channels), 0, -1):
            channels = backbone.inputs(block)[::-1]
            if block == 1:  # in place of the pixels' 3
                channels = (*channels[:-1], channels[0])
            x = UnpoolBlock(channels, config.dtype, name=f"up_{block}")(x, maps, block, **context)
        classifier = nn.Dense(config.outputs, kernel_init=he_normal, name="classifier")
        return classifier(x.astype(jnp.float32))


Config, Network = DeconvNetConfig, DeconvNet
