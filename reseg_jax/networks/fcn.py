"""FCN: VGG-16 as convolutions, scores of its deep and, finer, of its earlier maps, added up.

Paper: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation",
CVPR 2015, sections 3 and 4.

    x = score(fc7)                                                             stride 32
    x = upsample(x, 2) + score(pool4)           FCN-16s and FCN-8s             stride 16
    x = upsample(x, 2) + score(pool3)           FCN-8s                         stride  8
    logits = upsample(x, its stride)                                           stride  1

Upsamplings by 2 are transposed convolutions that begin as bilinear interpolation and are trained;
the last one stays bilinear (section 4.3). The score of the finest map is called `classifier`: its
bias reaches every logit as it is.

Two geometries. "same": all convolutions are padded, cell i of a map of stride s covers pixels
s i to s i + s - 1, nothing is cropped but what poolings rounded up, and the last upsampling is
`api`'s, which does not fade at the borders. "published": the released
networks put 100 pixels around the image, do not pad fc6, and paint all that transposed
convolutions paint; crops bring the maps together. Their offsets follow from where centers are:

    cell i of pool4                      16 i - 91.5       the border begins 99 pixels before
    cell i of pool3                       8 i - 95.5
    cell i of fc7                        32 i + 12.5       fc6 takes off 3 cells of pool5
    cell i of an upsampling by f         the center of cell (i - f + 1/2) / f below

so that the upsampled fc7, 16 i - 11.5, meets pool4 at cell i + 5; upsampled again, 8 i - 23.5, it
meets pool3 at cell i + 9; and pixel 0 is number 19, 27 or 31 of the last upsampling by 32, 16, 8.

Dimension key: `B` images, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.upsample import OverlappingTransposedConv, bilinear_upsample
from reseg_jax.networks.base import NetworkConfig

GEOMETRIES = ("same", "published")
_BACKBONE = VGG16(trainable=True)  # section 4.3: all layers are fine-tuned
_BORDERS = {  # geometry -> (border, fc_padding) of its backbone
    "same": (0, "SAME"),
    "published": (99, "VALID"),  # conv1_1 adds one more: 100 in the released networks
}
_SKIPS = {  # upsample_stride -> maps whose scores are added, the deepest first
    32: (),
    16: ("pool4",),
    8: ("pool4", "pool3"),
}
# Offsets of the published geometry, see the top of this file.
_SKIP_CROPS = {"pool4": 5, "pool3": 9}
_LAST_CROPS = {32: 19, 16: 27, 8: 31}


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

    backbone: VGG16 | None = _BACKBONE
    preprocessing: str = "caffe"  # the paper's weights
    upsample_stride: int = 8
    geometry: str = "same"
    skip_scales: tuple[float, float] = (1.0, 1.0)
    stage_fields: ClassVar[tuple[str, ...]] = ("upsample_stride",)

    def __post_init__(self):
        check_choice("upsample_stride", self.upsample_stride, _SKIPS)
        check_choice("geometry", self.geometry, GEOMETRIES)
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
        border, fc_padding = _BORDERS[self.geometry]
        if (self.backbone.border, self.backbone.fc_padding) != (border, fc_padding):
            raise UserError(
                f"geometry={self.geometry} does not fit a backbone with "
                f"border={self.backbone.border} and fc_padding={self.backbone.fc_padding}: "
                f"give the backbone border={border} and fc_padding={fc_padding}"
            )

    @classmethod
    def published(cls, **changes) -> "FCNConfig":
        """The released networks' geometry: sets `geometry`, and what the backbone needs for it.

        Args:
          **changes: other fields; of a `backbone` its border and fc_padding are replaced.
        """
        border, fc_padding = _BORDERS["published"]
        backbone = changes.pop("backbone", cls.backbone)
        backbone = dataclasses.replace(backbone, border=border, fc_padding=fc_padding)
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
        return (*self.score_layers.values(), *map(_upsampling, self.skips))

    @property
    def score_layers(self) -> dict[str, str]:
        """{map: the layer that scores it}."""
        return {tap: f"score_{tap}" for tap in self.taps} | {self.taps[-1]: "classifier"}

    def begins_as(self, trained: NetworkConfig) -> dict[str, str | None]:
        """What scores a map in FCN-32s scores it in FCN-16s, and then in FCN-8s.

        A map that is added is scored by zeros at the start and the upsampling to it is bilinear:
        each stage begins with what the one before gives (section 4.2).
        """
        scores = {name: trained.score_layers.get(tap) for tap, name in self.score_layers.items()}
        added = [_upsampling(name) for name in self.skips if name not in trained.skips]
        return scores | dict.fromkeys(added)

    @property
    def uses_dropout(self) -> bool:
        """After fc6 and fc7, which are the backbone's."""
        return self.backbone.trainable and self.backbone.dropout > 0


def _upsampling(name):
    """The layer that upsamples to a map."""
    return f"upsample_to_{name}"


class FCN(nn.Module):
    """The scores of a backbone's maps, and their upsampling to the image."""

    config: FCNConfig

    def _score(self, tap):
        # Section 4.3: "we zero-initialize the class scoring convolution layer".
        name, zeros = self.config.score_layers[tap], nn.initializers.zeros
        return nn.Dense(self.config.outputs, kernel_init=zeros, name=name)

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
          [B, h', w', K] at `FCNConfig.output_stride`; they begin at the image's first pixel and
          cover the image.
        """
        del train, weight, valid_size
        config = self.config
        full = config.geometry == "published"
        x = self._score("fc7")(maps["fc7"])
        for name, scale in zip(config.skips, config.skip_scales, strict=False):
            x = OverlappingTransposedConv(
                config.outputs, 2, "full" if full else None, name=_upsampling(name)
            )(x)
            score = self._score(name)(scale * maps[name])
            if full:  # the map is larger: it has cells before and after the upsampled ones
                first, (height, width) = _SKIP_CROPS[name], x.shape[1:3]
                x = x + score[:, first : first + height, first : first + width]
            else:  # the upsampled one is larger, by one cell, if a pooling rounded up
                x = x[:, : score.shape[1], : score.shape[2]] + score
        if not full:
            return x
        first = _LAST_CROPS[config.upsample_stride]
        return bilinear_upsample(x, config.upsample_stride, full=True)[:, first:, first:]


Config, Network = FCNConfig, FCN
