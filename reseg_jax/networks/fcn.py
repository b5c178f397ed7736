"""FCN: VGG-16 as convolutions, scores of its deep and, finer, of its earlier maps, added up.

Paper: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation",
CVPR 2015, sections 3 and 4.

    x = score(fc7)                                                             stride 32
    x = upsample(x, 2) + score(pool4)           FCN-16s and FCN-8s             stride 16
    x = upsample(x, 2) + score(pool3)           FCN-8s                         stride  8
    logits = upsample(x, its stride)                                           stride  1

Upsamplings by 2 are trained (`reseg_jax.layers.score_fusion`); the last one stays bilinear (section
4.3). Two geometries (`reseg_jax.layers.fcn_geometry`): in "same" all maps are padded, and the last
upsampling is `api`'s, which does not fade at the borders; "published" is the released networks',
with a border around the image, whose maps are cropped to meet.

Dimension key: `B` images, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers import fcn_geometry, score_fusion
from reseg_jax.networks.base import NetworkConfig

# upsample_stride -> maps whose scores are added, the deepest first.
_SKIPS = {32: (), 16: ("pool4",), 8: ("pool4", "pool3")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FCNConfig(NetworkConfig):
    """FCN (Long et al. 2015). Without arguments: FCN-8s, padded so that nothing is cropped.

    Attributes:
      upsample_stride: pixels per cell of the finest scores, which the last upsampling brings to
        the image: 32, 16 or 8 for FCN-32s, FCN-16s, FCN-8s.
      geometry: "same" or "published", see the top of this file; `published` sets the backbone, too.
      skip_scales: factors of pool4 and pool3 before they are scored. The released network that is
        trained at once, not one skip after the other, has 0.01 and 0.0001.
    """

    backbone: VGG16 | None = VGG16(trainable=True)  # section 4.3: all layers are fine-tuned
    preprocessing: str = "caffe"  # the paper's weights
    upsample_stride: int = 8
    geometry: str = "same"
    skip_scales: tuple[float, float] = (1.0, 1.0)
    stage_fields: ClassVar[tuple[str, ...]] = ("upsample_stride",)

    def __post_init__(self):
        check_choice("upsample_stride", self.upsample_stride, _SKIPS)
        check_choice("geometry", self.geometry, fcn_geometry.BACKBONES)
        if self.backbone is None:
            raise UserError("backbone=None: FCN reads the maps of a VGG16, so give one")
        super().__post_init__()
        if len(self.skip_scales) != 2 or min(self.skip_scales) <= 0:
            raise UserError(
                f"skip_scales={self.skip_scales}: give 2 numbers above 0, of pool4 and of pool3"
            )
        if self.dtype != "float32" and not self.backbone.trainable:
            raise UserError(
                f"dtype={self.dtype} is for FCN's backbone, and a frozen one stays in float32: set "
                "backbone.trainable=true, or dtype=float32"
            )
        fcn_geometry.check_backbone(self.geometry, self.backbone.border, self.backbone.fc_padding)

    @classmethod
    def published(cls, **changes) -> "FCNConfig":
        """The released networks' geometry: sets `geometry`, and what the backbone needs for it.

        Args:
          **changes: other fields; of a `backbone` its border and fc_padding are replaced.
        """
        backbone = changes.pop("backbone", cls.backbone)
        backbone = dataclasses.replace(backbone, **fcn_geometry.BACKBONES["published"])
        return cls(**changes, backbone=backbone, geometry="published")

    @property
    def skips(self) -> tuple[str, ...]:
        """Maps whose scores are added to the upsampled ones, the deepest first."""
        return _SKIPS[self.upsample_stride]

    @property
    def taps(self) -> tuple[str, ...]:
        """fc7, then the maps of the skips."""
        return ("fc7", *self.skips)

    @property
    def stride(self) -> int:
        """The deepest map's; 1 in the published geometry, which takes images as they are."""
        return 1 if self.geometry == "published" else super().stride

    @property
    def output_stride(self) -> tuple[float, float]:
        """That of the finest scores; the published geometry has its own last upsampling."""
        stride = 1.0 if self.geometry == "published" else float(self.upsample_stride)
        return (stride, stride)

    @property
    def class_layers(self) -> tuple[str, ...]:
        """All layers: each gives one map per class."""
        return score_fusion.layer_names(self.taps)

    def begins_as(self, trained: NetworkConfig) -> dict[str, str | None]:
        """Each stage begins with what the one before gives (section 4.2)."""
        return score_fusion.begins_as(self.taps, trained.taps)

    @property
    def uses_dropout(self) -> bool:
        """After fc6 and fc7, which are the backbone's."""
        return self.backbone.trainable and self.backbone.dropout > 0


class FCN(nn.Module):
    """The scores of a backbone's maps, and their upsampling to the image."""

    config: FCNConfig

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
          maps: {tap: [B, h, w, C]} of `FCNConfig.taps`, of images of any size; it need not be a
            multiple of the stride.
          train, weight, valid_size: not used; nothing here depends on the batch, and images must
            fill their array.

        Returns:
          [B, h', w', K] at `FCNConfig.output_stride`; they cover the image from its first pixel on.
        """
        del train, weight, valid_size
        config = self.config
        fields = (config.outputs, config.taps, config.skip_scales, config.geometry)
        fusion = score_fusion.ScoreFusion(*fields)
        nn.share_scope(self, fusion)  # its parameters are not one name deeper
        return fcn_geometry.to_image(fusion(maps), config.upsample_stride, config.geometry)


Config, Network = FCNConfig, FCN
