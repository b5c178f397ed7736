"""ResNet of bottleneck blocks, its last stages dilated if its maps are to be fine.

Papers: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, table 1,
columns of 50 and 101 layers; dilation: Yu, Koltun and Funkhouser, "Dilated residual networks",
CVPR 2017, section 3.

    stem       a 7x7 convolution of stride 2, or three of 3x3; then 3x3 maxima at stride 2
    stage 2..5 blocks  y = relu(x + third(second(first(x)))),  the first one of a stage with a
               projection ("shortcut") in place of x, and of stride 2 but for stage 2
    block      1x1, 3x3 with the stride, 1x1 of four times the channels; each is normalized, and the
               first two are rectified

The stride is in the 3x3 convolution, where torchvision has it ("v1.5"), in the paper in the first.

An output stride below 32 takes the strides out of the last stages. The 3x3 convolutions after a
stride that is gone read pixels that are as far apart as they were, so that the cells that the
network had keep their values, and new ones are in between. (PSPNet's released code also dilates the
3x3 convolution that lost its stride.)

Dimension key: `B H W` image axes, `C` channels.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax

from reseg_jax.backbones.base import Backbone, Tap
from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.conv_norm import ConvNorm
from reseg_jax.layers.pooling import max_pool_centered

_BLOCKS = {  # depth -> blocks of the stages 2 to 5
    14: (1, 1, 1, 1),  # not in the paper: one of each, for small data
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
_WIDTH = 64  # channels of the first convolutions, the same table
_EXPANSION = 4  # of a block's last convolution

STEMS = {
    "7x7": {"stem": (7, 2, 1)},
    "deep": {"stem_1": (3, 2, 1), "stem_2": (3, 1, 1), "stem_3": (3, 1, 2)},  # PSPNet's
}
"""Name of a stem -> its layers: side of the kernel, stride, channels in widths."""

TAPS = ("stage2", "stage3", "stage4", "stage5")
"""Maps, each after the last ReLU of its stage; conv2_x to conv5_x in the paper's table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet(Backbone):
    """The ResNet below a network. Without arguments: ResNet-50, frozen, as for ImageNet.

    Attributes:
      depth: 50 or 101 layers; 14 has one block per stage.
      output_stride: image pixels per cell of stage 5: 32, or 16 or 8 with dilation.
      stem: "7x7", the paper's, or "deep", see `STEMS`.
      width: channels of the first convolution; all others have multiples of it.
    """

    name: ClassVar[str] = "resnet"

    depth: int = 50
    output_stride: int = 32
    stem: str = "7x7"
    width: int = _WIDTH

    def __post_init__(self):
        check_choice("depth", self.depth, _BLOCKS)
        check_choice("output_stride", self.output_stride, (8, 16, 32))
        check_choice("stem", self.stem, STEMS)
        if self.width < 1:
            raise UserError(f"width={self.width}: give at least 1 channel")

    @property
    def align_corners(self) -> bool:
        """True: windows of 7 and 3 pixels have a pixel in the middle."""
        return True

    @property
    def blocks(self) -> dict[str, int]:
        """Name of a stage -> how many blocks it has."""
        return dict(zip(TAPS, _BLOCKS[self.depth], strict=True))

    def tap(self, name: str) -> Tap:
        """Channels and stride of a map.

        Args:
          name: one of `TAPS`.

        Raises:
          UserError: the name is unknown.
        """
        check_choice("tap", name, TAPS)
        power = TAPS.index(name)
        stride = min(4 * 2**power, self.output_stride)
        return Tap(_EXPANSION * self.width * 2**power, stride)

    def layers(self, taps: tuple[str, ...]) -> tuple[str, ...]:
        """The stem's convolutions and the blocks, `stage2_1` and so on, up to the last of `taps`.

        Raises:
          UserError: a name is unknown.
        """
        for name in taps:
            self.tap(name)
        stages = TAPS[: max(map(TAPS.index, taps), default=-1) + 1]
        blocks = (f"{stage}_{i}" for stage in stages for i in range(1, self.blocks[stage] + 1))
        return (*STEMS[self.stem], *blocks)

    def module(self, taps: tuple[str, ...], dtype: str | None = None) -> "ResNetMaps":
        """The Flax module that computes these maps."""
        return ResNetMaps(self, taps, dtype)


class Bottleneck(nn.Module):
    """A residual block: [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), 4 channels].

    Parameters are below `first`, `second`, `third` and, if shapes differ, `shortcut`.

    Attributes:
      channels: of the first two convolutions.
      stride, dilation: of the 3x3 convolution.
      dtype: see `reseg_jax.layers.mixed`.
    """

    channels: int
    stride: int = 1
    dilation: int = 1
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """`train` and `weight` as for `BatchNorm`."""

        def layer(name, x, channels, size=1, **how):
            how |= {"use_bias": False, "dtype": self.dtype, "name": name}
            return ConvNorm(channels, (size, size), **how)(x, train=train, weight=weight)

        wide = _EXPANSION * self.channels
        y = layer("first", x, self.channels)
        y = layer("second", y, self.channels, 3, stride=self.stride, dilation=self.dilation)
        y = layer("third", y, wide, relu=False)
        if self.stride > 1 or x.shape[-1] != wide:
            x = layer("shortcut", x, wide, relu=False, stride=self.stride)
        return nn.relu(x + y)


class ResNetMaps(nn.Module):
    """The maps of a ResNet, computed up to the last one asked for.

    A block's parameters are below its name: `stage2_1/first/conv/kernel`,
    `stage2_1/first/norm/scale`, ...; the stem's are below those of `STEMS`.

    Attributes:
      config: the network.
      taps: the maps to return, of `TAPS`.
      dtype: of convolutions, see `reseg_jax.layers.mixed`; None: the pixels', as the maps are.
    """

    config: ResNet
    taps: tuple[str, ...]
    dtype: str | None = None

    @nn.compact
    def __call__(
        self,
        pixels: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Maps of preprocessed images.

        Args:
          pixels: float32 [B, H, W, 3].
          train: batch normalization by the statistics of the batch.
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: must be None: images fill their array.

        Returns:
          {tap: [B, ceil(H / s), ceil(W / s), C]} with the tap's stride s and channels C.

        Raises:
          UserError: a tap is unknown, or `valid_size` is given.
        """
        if valid_size is not None:
            raise UserError("a ResNet sees the end of its array: leave out valid_size")
        config, maps, context = self.config, {}, {"train": train, "weight": weight}
        layers = config.layers(self.taps)
        x = max_pool_centered(self._stem(pixels, context), 3, stride=2)
        before, full = 4, 4  # strides of what a stage reads: here, and without dilation
        for number, (name, count) in enumerate(config.blocks.items()):
            stride = config.tap(name).stride
            for block in (f"{name}_{index}" for index in range(1, count + 1)):
                if block in layers:
                    channels = config.width * 2**number
                    layer = Bottleneck(
                        channels, stride // before, full // before, self.dtype, name=block
                    )
                    x = layer(x, **context)
                before, full = stride, 4 * 2**number
            maps[name] = x
        return {tap: maps[tap].astype(pixels.dtype) for tap in self.taps}

    def _stem(self, x, context):
        for name, (size, stride, widths) in STEMS[self.config.stem].items():
            how = {"stride": stride, "use_bias": False, "dtype": self.dtype, "name": name}
            x = ConvNorm(widths * self.config.width, (size, size), **how)(x, **context)
        return x
