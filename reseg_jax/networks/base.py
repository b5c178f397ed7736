"""What every network's config says, and what `reseg_jax.api` reads of it.

A network is a config and a Flax module. The module maps `{tap: [B, h, w, C]}` to logits at any
stride; `api` does the rest once, for all networks: pixels, the backbone, padding, resizing and
cropping to the image, devices.
"""

import dataclasses
from typing import ClassVar

from reseg_jax.backbones.preprocessing import CONTRASTS, PREPROCESSINGS
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.mixed import DTYPES

PIXELS = "pixels"
"""Name of the map that a network without a backbone reads: the preprocessed image."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The part that all configs share: data only, hashable, `jit`'s static argument.

    Attributes:
      num_classes: K; 11 are CamVid's.
      void_class: train void as one more class, after the others, which may also be predicted.
      backbone: the pretrained network that computes the maps, or None to read the pixels.
      preprocessing: how pixels enter, `reseg_jax.backbones.preprocessing`. Loading pretrained
        weights sets it to what they were trained with.
      contrast: local contrast normalization of the pixels, in place of their mean: "none",
        "subtractive" or "divisive".
      dtype: of products: "float32", or "bfloat16" for mixed precision (`reseg_jax.layers.mixed`):
        convolutions and what sweeps read of their input. Parameters, batch statistics, recurrent
        states, logits and a frozen backbone, whose maps may be kept, are in float32 all the same.
      stage_fields: those in which the networks differ that are trained one after the other.
    """

    num_classes: int = 11
    void_class: bool = False
    backbone: VGG16 | ResNet | None = None
    preprocessing: str = "unit"
    contrast: str = "none"
    dtype: str = "float32"
    stage_fields: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        check_choice("preprocessing", self.preprocessing, PREPROCESSINGS)
        check_choice("contrast", self.contrast, CONTRASTS)
        check_choice("dtype", self.dtype, DTYPES)
        if self.num_classes < 2:
            raise UserError(f"num_classes={self.num_classes}: a softmax needs at least 2 classes")
        for tap in self.taps if self.backbone else ():
            self.backbone.tap(tap)

    @property
    def outputs(self) -> int:
        """Logits per pixel: the classes and, if it is trained, void after them."""
        return self.num_classes + self.void_class

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the maps that the network reads, the deepest first."""
        return (PIXELS,)

    @property
    def frozen(self) -> bool:
        """Whether there is a backbone that is not trained: its maps are constants of an image."""
        return self.backbone is not None and not self.backbone.trainable

    def tap_stride(self, tap: str) -> int:
        """Image pixels per cell of a map that the network reads."""
        return self.backbone.tap(tap).stride if self.backbone else 1

    @property
    def stride(self) -> int:
        """Images are padded at the bottom and right to a multiple of this many pixels."""
        return max(map(self.tap_stride, self.taps))

    @property
    def margin(self) -> int:
        """Pixels of mirrored context that are added on each side of an image."""
        return 0

    @property
    def align_corners(self) -> bool:
        """Whether cell i of a map lies on pixel s i, see `reseg_jax.backbones.base.Backbone`."""
        return self.backbone is not None and self.backbone.align_corners

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size (height, width) that is computed for images of `size`, margins included."""
        corners = int(self.align_corners)
        return tuple(-(-(side - corners) // self.stride) * self.stride + corners for side in size)

    @property
    def output_stride(self) -> tuple[float, float]:
        """Image pixels per logit, (height, width); `api` resizes the logits by it."""
        return (1.0, 1.0)

    @property
    def exact_padding(self) -> bool:
        """Whether the network can be told an image's valid size in a larger array."""
        return False

    @property
    def class_layers(self) -> tuple[str, ...]:
        """Layers whose shapes depend on the classes: new ones for other classes."""
        return ("classifier",)

    def begins_as(self, trained: "NetworkConfig") -> dict[str, str | None]:
        """Layers that are called otherwise in the network that is trained before this one.

        Args:
          trained: its config, of the same class.

        Returns:
          {layer: its name in the trained network, or None if it is new}. Layers that are not named
          are called the same.
        """
        del trained
        return {}

    @property
    def uses_dropout(self) -> bool:
        """Whether anything is dropped in training."""
        return False


def check_layers(sizes_name: str, sizes: tuple, widths_name: str, widths: tuple) -> None:
    """Checks two fields that have an entry per layer.

    Args:
      sizes_name: of the one field.
      sizes: its (height, width) pairs.
      widths_name: of the other.
      widths: its numbers of channels or units.

    Raises:
      UserError: they are of different lengths or empty, or a number is below 1.
    """
    if len(sizes) != len(widths) or not sizes:
        raise UserError(
            f"{sizes_name} has {len(sizes)} layers and {widths_name} {len(widths)}: "
            "give both one entry per layer, at least one layer"
        )
    if any(len(size) != 2 or min(size) < 1 for size in sizes) or min(widths) < 1:
        raise UserError(
            f"{sizes_name}={sizes}, {widths_name}={widths}: sizes are (height, width) pairs, "
            "all numbers at least 1"
        )


def check_levels(channels: tuple[int, ...], deepest: str) -> None:
    """Checks the channels of a network that is as a U: a way down, and one up.

    Args:
      channels: of each level from the top, the deepest last.
      deepest: what the network calls that level.

    Raises:
      UserError: there are fewer than two, or one is below 1.
    """
    if len(channels) < 2 or min(channels) < 1:
        raise UserError(
            f"channels={channels}: give at least 2 numbers, from the top level to the {deepest}, "
            "all of them at least 1"
        )


def check_no_backbone(network: str, backbone: object) -> None:
    """Checks that a network that reads the pixels was given no backbone.

    Args:
      network: its name in the paper.
      backbone: the config's.

    Raises:
      UserError: there is one.
    """
    if backbone is not None:
        raise UserError(f"backbone: {network} reads the pixels, so leave backbone out")
