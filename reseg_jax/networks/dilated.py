"""Dilated: VGG-16 without its last two poolings, and a context module that reads its scores.

Paper: Yu and Koltun, "Multi-scale context aggregation by dilated convolutions", ICLR 2016, sections
3 and 4.

    front end   conv1 to conv5, fc6 and fc7 of VGG-16 at stride 8: no pool4, no pool5; conv5 has a
                dilation of 2, fc6 of 4; 1x1 scores
    context     `reseg_jax.layers.context`, basic or large, if wanted; 1x1 scores

The paper's convolutions up to fc7 are not padded; the image is mirrored around itself in their
place. On each side they take

    margin = 2 1 + 2 2 + 3 4 + 3 8 + 3 2 8 + 3 4 8 = 186 pixels        conv1 ... conv5, fc6

so that 360x480 pixels are computed at 732x852, of which 45x60 cells are left. A backbone with the
padding SAME has zeros around every map instead, and computes three times less of all but fc6.

The context module is trained after the front end: `--start_from` a front end, with
`--set context=basic`, keeps its scores, which are called `front` from then on.

Dimension key: `B` images, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.context import FORMS, ContextModule, block_identity
from reseg_jax.layers.initializers import gaussian
from reseg_jax.networks.base import NetworkConfig

_MARGIN = 186  # pixels, see the top of this file
_BACKBONE = VGG16(trainable=True, output_stride=8, padding="VALID", fc_padding="VALID")
_CONTEXTS = ("none", *FORMS)
# Of the front end's scores; the paper does not say. DeepLab's, which descends from the same VGG.
_SCORES = gaussian(0.01)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DilatedConfig(NetworkConfig):
    """Yu and Koltun 2016. Without arguments: the front end, on a mirrored image.

    Attributes:
      context: the module that reads the front end's scores: "none", "basic" or "large".
    """

    backbone: VGG16 | None = _BACKBONE
    preprocessing: str = "caffe"  # the weights that the front end begins with
    context: str = "none"
    stage_fields: ClassVar[tuple[str, ...]] = ("context",)

    def __post_init__(self):
        check_choice("context", self.context, _CONTEXTS)
        wanted, backbone = {"output_stride": 8, "pool_size": 2, "border": 0}, self.backbone
        if (
            any(getattr(backbone, name, None) != value for name, value in wanted.items())
            or backbone.padding != backbone.fc_padding
        ):
            raise UserError(
                "backbone: the dilated front end reads a VGG16 with output_stride=8, pool_size=2, "
                "border=0 and fc_padding like padding, so give one"
            )
        super().__post_init__()

    @property
    def taps(self) -> tuple[str, ...]:
        """fc7."""
        return ("fc7",)

    @property
    def margin(self) -> int:
        """Pixels that convolutions without padding take off on each side."""
        return _MARGIN if self.backbone.padding == "VALID" else 0

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """A multiple of the stride, and the margins."""
        return tuple(side + 2 * self.margin for side in super().padded_size(size))

    @property
    def output_stride(self) -> tuple[float, float]:
        """8: `api` interpolates."""
        return (float(self.stride), float(self.stride))

    @property
    def class_layers(self) -> tuple[str, ...]:
        """All layers: their channels are the classes, or multiples of them."""
        return ("classifier",) if self.context == "none" else ("classifier", "context", "front")

    def begins_as(self, trained: NetworkConfig) -> dict[str, str | None]:
        """A front end's scores are the front end's, below a new context module."""
        if self.context != "none" and trained.context == "none":
            return {"front": "classifier", "context": None, "classifier": None}
        return {}

    @property
    def uses_dropout(self) -> bool:
        """After fc6 and fc7, which are the backbone's."""
        return self.backbone.trainable and self.backbone.dropout > 0


class Dilated(nn.Module):
    """Scores of fc7, `classifier`; or `front`, the layers of `context`, and `classifier`."""

    config: DilatedConfig

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
          maps: {"fc7": [B, h, w, C]}.
          train, weight, valid_size: not used; nothing here depends on the batch, and images must
            fill their array.

        Returns:
          [B, h, w, K].
        """
        del train, weight, valid_size
        config, x = self.config, maps["fc7"]
        if config.context == "none":
            return nn.Dense(config.outputs, kernel_init=_SCORES, name="classifier")(x)
        widths, noise = FORMS[config.context]
        x = nn.Dense(config.outputs, kernel_init=_SCORES, name="front")(x)
        x = ContextModule(config.outputs, widths, noise=noise, dtype=config.dtype, name="context")(
            x
        )
        start = block_identity(config.outputs, noise)
        classifier = nn.Dense(config.outputs, kernel_init=start, name="classifier")
        return classifier(x.astype(jnp.float32))


Config, Network = DilatedConfig, Dilated
