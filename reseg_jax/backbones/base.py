"""What a network reads of a backbone: maps by name, each with its channels and its stride.

A backbone is a config, which a network's config holds, and a Flax module, which the config builds.
The module maps pixels [B, H, W, 3] to `{tap: [B, h, w, C]}`, see `reseg_jax.backbones.vgg.VGG`.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import flax.linen as nn


class Tap(NamedTuple):
    """A map that a backbone can give.

    Attributes:
      channels: how many it has.
      stride: image pixels per cell.
    """

    channels: int
    stride: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """The part that all backbones' configs share.

    Attributes:
      trainable: train it with the network; otherwise its parameters stay as loaded, and its maps
        are those of inference.
    """

    name: ClassVar[str]
    """Of its parameters among the network's: `vgg/conv1_1/kernel`."""

    trainable: bool = False

    @property
    def align_corners(self) -> bool:
        """Whether cell i of a map of stride s lies on pixel s i, as windows of 3 pixels have it.

        Images are then padded to sizes of s k + 1, with cells on all four corners. Otherwise the
        cell lies in the middle of pixels s i to s i + s - 1, as windows of 2 pixels have it.
        """
        return False

    def tap(self, name: str) -> Tap:
        """Channels and stride of a map; a UserError lists the names if there is no such."""
        raise NotImplementedError

    def layers(self, taps: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the layers with parameters that are computed for maps, in order."""
        raise NotImplementedError

    def module(self, taps: tuple[str, ...], dtype: str | None = None) -> nn.Module:
        """The Flax module that computes these maps, convolutions in `dtype`."""
        raise NotImplementedError
