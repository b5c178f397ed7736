"""SegNet: what was pooled is put back where its maximum was, and made dense by convolutions.

Papers: Badrinarayanan, Kendall and Cipolla, "SegNet: A deep convolutional encoder-decoder
architecture for image segmentation", PAMI 2017, section 3 and figure 2; Kendall, Badrinarayanan and
Cipolla, "Bayesian SegNet", BMVC 2017, section 3.

    encoder   the 13 convolutions of VGG-16, each with batch normalization; poolings keep switches
    decoder   for block 5 to 1: unpool by the switches of the block's pooling, then as many
              convolutions as the block has, the last one with the channels of the block above
    logits    the last convolution of block 1

SegNet-Basic has no backbone: four 7x7 convolutions of 64 channels on the way down, four on the way
up (`reseg_jax.layers.switched_autoencoder`), and a 1x1 classifier.

Bayesian SegNet is either of them with dropout after the poolings of the deeper half and after the
decoder's blocks at the same sizes; `reseg_jax.inference.ensemble` samples it.

Poolings round up, as in Caffe: 360 rows become 180, 90, 45, 23 and 12, and unpooling crops.

Dimension key: `B H W` image axes, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.backbones.vgg_layers import SWITCHES
from reseg_jax.errors import UserError, check_share
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.conv_norm import UnpoolBlock
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.norm import local_response_norm
from reseg_jax.layers.switched_autoencoder import SwitchedAutoencoder
from reseg_jax.networks.base import PIXELS, NetworkConfig

# Bayesian SegNet drops after encoders and decoders 3, 4, 5, its Basic form after 3 and 4.
_DROPOUT_FROM = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegNetConfig(NetworkConfig):
    """SegNet (Badrinarayanan et al. 2017). Without arguments: on VGG-16; see also `basic`.

    Attributes:
      backbone: VGG-16 with batch normalization; None for SegNet-Basic.
      basic_channels: of SegNet-Basic's convolutions.
      dropout: share that is dropped in the decoder, and in SegNet-Basic's encoder; a backbone has
        its own, see `bayesian`.
    """

    backbone: VGG16 | None = VGG16(trainable=True, batch_norm=True)
    preprocessing: str = "caffe"  # the weights that the encoder begins with
    basic_channels: int = 64
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.basic_channels < 1:
            raise UserError(f"basic_channels={self.basic_channels}: give at least 1")
        check_share("dropout", self.dropout)

    @classmethod
    def basic(cls, **changes) -> "SegNetConfig":
        """SegNet-Basic, which reads the pixels."""
        return cls(**{"backbone": None, "preprocessing": "unit", **changes})

    def bayesian(self, dropout: float = 0.5) -> "SegNetConfig":
        """The same network with dropout, by default the paper's share."""
        backbone = self.backbone
        if backbone:
            blocks = tuple(range(_DROPOUT_FROM, len(backbone.channels) + 1))
            backbone = dataclasses.replace(backbone, dropout=dropout, dropout_blocks=blocks)
        return dataclasses.replace(self, backbone=backbone, dropout=dropout)

    @property
    def taps(self) -> tuple[str, ...]:
        """The last pooling and all switches, the deepest first; without a backbone the pixels."""
        return ("pool5", *reversed(SWITCHES)) if self.backbone else (PIXELS,)

    @property
    def stride(self) -> int:
        """1: images are taken as they are, poolings round up."""
        return 1

    @property
    def uses_dropout(self) -> bool:
        """In the decoder, in SegNet-Basic's encoder, and in a backbone that is trained."""
        backbone = self.backbone
        below = backbone and backbone.trainable and backbone.dropout_blocks and backbone.dropout
        return self.dropout > 0 or bool(below)


class SegNet(nn.Module):
    """The decoder, and SegNet-Basic's encoder.

    The decoder's parameters are below `up_5`, ... `up_1`, SegNet-Basic's encoder's below `down_1`,
    ... `down_4`.
    """

    config: SegNetConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Logits from the maps of a backbone, or from pixels, see `networks.base`.

        Args:
          maps: {tap: [B, h, w, C]} of `SegNetConfig.taps`.
          train: batch normalization by the statistics of the batch.
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: not used; images must fill their array.

        Returns:
          [B, h', w', K], the image and, if its sides are odd, one row or column more.
        """
        del valid_size
        config, context = self.config, {"train": train, "weight": weight}
        if config.backbone:
            x, classifier = self._decoded(maps, context), Convolution
        else:
            # Caffe's normalization reads pixels from 0 to 255.
            scale = 255 if config.preprocessing == "unit" else 1
            fields = (config.basic_channels, config.dropout, _DROPOUT_FROM, config.dtype)
            layers, classifier = SwitchedAutoencoder(*fields), nn.Dense
            nn.share_scope(self, layers)  # its parameters are not one name deeper
            x = layers(local_response_norm(scale * maps[PIXELS]), **context)
        classifier = classifier(config.outputs, kernel_init=he_normal, name="classifier")
        return classifier(x.astype(jnp.float32))

    def _decoded(self, maps, context):
        config, x = self.config, maps["pool5"]
        for block in range(len(config.backbone.channels), 0, -1):
            channels = config.backbone.inputs(block)[::-1]
            channels = channels if block > 1 else channels[:-1]  # the classifier is the last one
            x = UnpoolBlock(channels, config.dtype, name=f"up_{block}")(x, maps, block, **context)
            if block >= _DROPOUT_FROM:
                x = nn.Dropout(config.dropout, deterministic=not self.has_rng("dropout"))(x)
        return x


Config, Network = SegNetConfig, SegNet
