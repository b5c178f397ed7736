"""DeepLab: a dilated backbone, and scores that look around at one rate, or at several at once.

Papers: Chen, Papandreou, Kokkinos, Murphy and Yuille, "Semantic image segmentation with deep
convolutional nets and fully connected CRFs", ICLR 2015, section 3 and table 2 (LargeFOV); the same,
"DeepLab: Semantic image segmentation with deep convolutional nets, atrous convolution, and fully
connected CRFs", PAMI 2018, sections 3.1 and 3.2 (pyramid, ResNet).

    map       pool5 of a VGG-16 whose poolings are 3x3 around a pixel, the last two of stride 1; or
              the last stage of a ResNet; at stride 8
    branch r  fc6 dilated by r, and fc7 (`reseg_jax.layers.aspp`); 1x1 scores
    logits    the sum of the branches' scores

    LargeFOV  one branch: 3x3, 1024 channels, rate 12
    ASPP-S    four of them: rates 2, 4, 8, 12
    ASPP-L    rates 6, 12, 18, 24
    ResNet    rates 6, 12, 18, 24, and branches are scores only: 3x3 convolutions of the map

Cell i lies on pixel 8 i, so images are padded to 8 k + 1 pixels: 360x480 to 361x481, 46x61 cells.
The papers begin fc6 and fc7 with a selection from VGG-16's; here they begin at random. They refine
the logits with a dense CRF, which is no part of the network.

Dimension key: `B` images, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError, check_share
from reseg_jax.layers.aspp import AtrousBranch
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import gaussian
from reseg_jax.networks.base import NetworkConfig

ASPP_S, ASPP_L = (2, 4, 8, 12), (6, 12, 18, 24)
"""Rates of the smaller and the larger pyramid: PAMI, section 4.1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepLabConfig(NetworkConfig):
    """DeepLab (Chen et al. 2015, 2018). Without arguments: LargeFOV on VGG-16; see also `resnet`.

    Attributes:
      tap: the map that branches read.
      rates: dilations of fc6, one branch each.
      kernel_size: of fc6. The first paper also tries 7 at rate 4, and 4 at rates 4 and 8, all with
        4096 channels.
      channels: of fc6 and fc7; None for branches that are scores only.
      dropout: share that is dropped after fc6 and fc7.
    """

    backbone: VGG16 | ResNet | None = VGG16(trainable=True, output_stride=8, pool_size=3)
    preprocessing: str = "caffe"  # the weights that VGG-16 begins with
    tap: str = "pool5"
    rates: tuple[int, ...] = (12,)
    kernel_size: int = 3
    channels: int | None = 1024
    dropout: float = 0.5

    def __post_init__(self):
        if self.backbone is None or not self.backbone.align_corners:
            raise UserError(
                "backbone: DeepLab reads maps whose cells lie on pixels, so give a VGG16 with "
                "pool_size=3 or a ResNet"
            )
        super().__post_init__()
        sizes = (*self.rates, self.kernel_size, 1 if self.channels is None else self.channels)
        if not 1 <= len(self.rates) == len(set(self.rates)) or min(sizes) < 1:
            raise UserError(
                f"rates={self.rates}, kernel_size={self.kernel_size}, channels={self.channels}: "
                "give different rates, at least one, and all numbers at least 1"
            )
        check_share("dropout", self.dropout)

    @classmethod
    def resnet(cls, **changes) -> "DeepLabConfig":
        """The larger pyramid on ResNet-101, its branches scores only."""
        fields = {"backbone": ResNet(trainable=True, depth=101, output_stride=8), "tap": "stage5"}
        fields |= {"preprocessing": "torchvision", "rates": ASPP_L, "channels": None}
        return cls(**{**fields, **changes})

    @property
    def taps(self) -> tuple[str, ...]:
        """The branches' map."""
        return (self.tap,)

    @property
    def output_stride(self) -> tuple[float, float]:
        """The map's; `api` interpolates."""
        return (float(self.stride), float(self.stride))

    @property
    def class_layers(self) -> tuple[str, ...]:
        """The scores of all branches."""
        return ("classifier", *(f"scores_{rate}" for rate in self.rates[1:]))

    @property
    def uses_dropout(self) -> bool:
        """After fc6 and fc7."""
        return self.channels is not None and self.dropout > 0


class DeepLab(nn.Module):
    """The branches, `branch_r` for a rate r, and their scores: `classifier` and `scores_r`."""

    config: DeepLabConfig

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
          maps: {tap: [B, h, w, C]} of `DeepLabConfig.taps`.
          train, weight, valid_size: not used; nothing here depends on the batch, and images must
            fill their array.

        Returns:
          [B, h, w, K]. There is dropout if there is a random key called "dropout".
        """
        del train, weight, valid_size
        config = self.config
        scores = 0.0
        for rate, name in zip(config.rates, config.class_layers, strict=True):
            x, size = maps[config.tap], config.kernel_size
            if config.channels is not None:
                fields = (config.channels, size, rate, config.dropout, config.dtype)
                x, size = AtrousBranch(*fields, name=f"branch_{rate}")(x), 1
            scores += Convolution(
                config.outputs,
                (size, size),
                dilation=rate,
                kernel_init=gaussian(0.01),  # PAMI, section 4.1
                name=name,
            )(x.astype(jnp.float32))
        return scores


Config, Network = DeepLabConfig, DeepLab
