"""PSPNet: a dilated ResNet, and beside its map the averages of large parts of the image.

Paper: Zhao, Shi, Qi, Wang and Jia, "Pyramid scene parsing network", CVPR 2017, sections 3.2 and
3.3, figures 3 and 4.

    pyramid    of stage 5: `reseg_jax.layers.pyramid`
    logits     3x3 convolution with batch normalization and ReLU, dropout, 1x1 convolution
    auxiliary  of stage 4, in training: the same with half the channels, without dropout

Dimension key: `B` images, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.resnet import ResNet
from reseg_jax.errors import UserError, check_share
from reseg_jax.layers.conv_norm import ConvNorm
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.pyramid import PyramidPooling
from reseg_jax.networks.base import NetworkConfig

# The released networks' stem; strides and dilation of section 3.2.
_BACKBONE = ResNet(depth=50, output_stride=8, stem="deep", trainable=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PSPNetConfig(NetworkConfig):
    """PSPNet (Zhao et al. 2017). Without arguments: on ResNet-50.

    Attributes:
      bins: per side of each pooling of the pyramid.
      channels: of each pooling's projection, and of the convolution before the classifier.
      auxiliary_channels: of the convolution before the auxiliary classifier.
      dropout: share that is dropped before the classifier.
    """

    backbone: ResNet | None = _BACKBONE
    preprocessing: str = "torchvision"
    bins: tuple[int, ...] = (1, 2, 3, 6)
    channels: int = 512
    auxiliary_channels: int = 256
    dropout: float = 0.1

    def __post_init__(self):
        if not isinstance(self.backbone, ResNet):
            raise UserError("backbone: PSPNet reads the maps of a ResNet, so give one")
        super().__post_init__()
        if self.backbone.output_stride == 32:
            raise UserError(
                "backbone.output_stride=32: PSPNet's auxiliary logits need a stage 4 as fine as "
                "stage 5, so give 8 or 16"
            )
        if not self.bins or len(set(self.bins)) < len(self.bins) or min(self.bins) < 1:
            raise UserError(f"bins={self.bins}: give numbers from 1, each once")
        if min(self.channels, self.auxiliary_channels) < 1:
            raise UserError(
                f"channels={self.channels}, auxiliary_channels={self.auxiliary_channels}: give at "
                "least 1"
            )
        check_share("dropout", self.dropout)

    @property
    def taps(self) -> tuple[str, ...]:
        """Stage 5, and stage 4 for the auxiliary logits."""
        return ("stage5", "stage4")

    @property
    def output_stride(self) -> tuple[float, float]:
        """The backbone's."""
        return (float(self.stride), float(self.stride))

    @property
    def class_layers(self) -> tuple[str, ...]:
        """Both classifiers."""
        return ("classifier", "auxiliary_classifier")

    @property
    def uses_dropout(self) -> bool:
        """Before the classifier."""
        return self.dropout > 0


class PSPNet(nn.Module):
    """Pyramid and classifiers.

    Parameters are below `pyramid`, `last`, `classifier`, `auxiliary` and `auxiliary_classifier`.
    """

    config: PSPNetConfig

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
          maps: {tap: [B, h, w, C]} of `PSPNetConfig.taps`.
          train: batch normalization by the statistics of the batch; the auxiliary logits, [B, h, w,
            K], are put into the collection "aux".
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: not used; images must fill their array.

        Returns:
          [B, h, w, K].
        """
        del valid_size
        config, context = self.config, {"train": train, "weight": weight}

        def convolution(channels, name):
            return ConvNorm(channels, use_bias=False, dtype=config.dtype, name=name)

        def scores(x, name):
            classifier = nn.Dense(config.outputs, kernel_init=he_normal, name=name)
            return classifier(x.astype(jnp.float32))

        # Parameters are made by a call without `train`.
        if train or self.is_initializing():
            x = convolution(config.auxiliary_channels, "auxiliary")(maps["stage4"], **context)
            self.sow("aux", "stage4", scores(x, "auxiliary_classifier"))
        pyramid = PyramidPooling(config.bins, config.channels, config.dtype, name="pyramid")
        x = convolution(config.channels, "last")(pyramid(maps["stage5"], **context), **context)
        x = nn.Dropout(config.dropout, deterministic=not self.has_rng("dropout"))(x)
        return scores(x, "classifier")


Config, Network = PSPNetConfig, PSPNet
