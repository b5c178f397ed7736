"""VGG-16 up to a named layer, its classifier included (Simonyan and Zisserman 2015, column D).

    block 1..5: convolutions 3x3 with ReLU, then a 2x2 max pooling
    fc6, fc7:   the classifier's first two layers as a 7x7 and a 1x1 convolution

As convolutions the fully connected layers read images of any size (Long, Shelhamer and Darrell
2015, "FCN", section 3.1); the third, which tells ImageNet's classes, is left out.

With an `output_stride` of 8 pool4 and pool5 do not halve their map. What comes after them reads
every 2nd or 4th cell in place of each: conv5 has a dilation of 2 and fc6 of 4, so that the weights
fit as they are (Yu and Koltun 2016, section 4; Chen et al. 2015, "DeepLab", section 3.1).

Dimension key: `B H W` image axes.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones import vgg_layers
from reseg_jax.backbones.base import Backbone, Tap
from reseg_jax.backbones.vgg_layers import SWITCHES, TAPS, block_of, full_stride, is_pool
from reseg_jax.errors import UserError, check_choice, check_share
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.norm import BatchNorm
from reseg_jax.layers.pooling import max_pool, max_pool_centered, max_pool_with_switches
from reseg_jax.padding import clear, valid_cells


@dataclasses.dataclass(frozen=True, kw_only=True)
class VGG16(Backbone):
    """The VGG-16 below a network. Without arguments: frozen, in the paper's size.

    Attributes:
      batch_norm: batch normalization between each convolution and its ReLU.
      channels: of the convolutions of each of the five blocks.
      fc_channels: of fc6 and fc7.
      output_stride: image pixels per cell of the deepest maps: 32, or 16 or 8 with dilation.
      pool_size: 2; or 3, maxima around every second pixel. Poolings that do not halve are then
        around every pixel; with 2 they are left out, as they would shift the map.
      padding: of the 3x3 convolutions: "SAME", or "VALID", which takes off a ring of pixels.
      fc_padding: "SAME" keeps the size of pool5 in fc6; "VALID", as in FCN's released networks,
        takes off 6 cells, 3 on each side, times the dilation.
      border: rings of zeros put around the preprocessed image. FCN's released networks pad
        conv1_1 by 100 pixels: that is a border of 99 and the padding "SAME".
      dropout: share that is dropped after fc6 and after fc7, and after the poolings of
        `dropout_blocks`.
      dropout_blocks: 1..5, the blocks after whose pooling it is dropped; Bayesian SegNet has
        (3, 4, 5).
    """

    name: ClassVar[str] = "vgg"

    batch_norm: bool = False
    channels: tuple[int, ...] = vgg_layers.CHANNELS
    fc_channels: int = 4096
    output_stride: int = 32
    pool_size: int = 2
    padding: str = "SAME"
    fc_padding: str = "SAME"
    border: int = 0
    dropout: float = 0.5  # Simonyan and Zisserman 2015, section 3.1
    dropout_blocks: tuple[int, ...] = ()

    def __post_init__(self):
        if len(self.channels) != 5 or min(*self.channels, self.fc_channels) < 1:
            raise UserError(
                f"channels={self.channels}, fc_channels={self.fc_channels}: give the first for "
                "each of VGG-16's 5 blocks, and all of them at least 1"
            )
        check_choice("output_stride", self.output_stride, (8, 16, 32))
        check_choice("pool_size", self.pool_size, (2, 3))
        check_choice("padding", self.padding, ("SAME", "VALID"))
        check_choice("fc_padding", self.fc_padding, ("SAME", "VALID"))
        if self.border < 0:
            raise UserError(f"border={self.border}: give a number of pixels, 0 for none")
        check_share("dropout", self.dropout)
        if not set(self.dropout_blocks) <= {1, 2, 3, 4, 5}:
            raise UserError(f"dropout_blocks={self.dropout_blocks}: give numbers from 1 to 5")

    @property
    def align_corners(self) -> bool:
        """Whether windows have a pixel in the middle."""
        return self.pool_size == 3

    def tap(self, name: str) -> Tap:
        """Channels and stride of a map, one of `vgg_layers.TAPS` or `SWITCHES`.

        Raises:
          UserError: the name is unknown, or that of switches that a pooling does not have.
        """
        layer = SWITCHES.get(name, name)
        check_choice("tap", layer, TAPS)
        if name in SWITCHES and not self.pools_by_two(layer):
            raise UserError(
                f"tap={name}: only poolings of 2x2 pixels have switches, so set "
                "backbone.pool_size=2 and backbone.output_stride=32"
            )
        connected = layer in vgg_layers.FULLY_CONNECTED
        channels = self.fc_channels if connected else self.channels[block_of(layer) - 1]
        return Tap(channels, min(full_stride(layer), self.output_stride))

    def halves(self, pool: str) -> bool:
        """Whether a pooling, "pool1" to "pool5", halves its map."""
        return full_stride(pool) <= self.output_stride

    def pools_by_two(self, name: str) -> bool:
        """Whether a layer is a pooling of 2x2 pixels: one that has switches."""
        return is_pool(name) and self.pool_size == 2 and self.halves(name)

    def dilation(self, name: str) -> int:
        """Cells from one entry of a layer's kernel to the next, see the top of this file."""
        return full_stride(name) // self.tap(name).stride

    def layers(self, taps: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the layers with parameters that are computed for maps, in order.

        Raises:
          UserError: a name is unknown.
        """
        return tuple(name for name in self._computed(taps) if not is_pool(name))

    def module(self, taps: tuple[str, ...], dtype: str | None = None) -> "VGG":
        """The Flax module that computes these maps."""
        return VGG(self, taps, dtype)

    def inputs(self, block: int) -> tuple[int, ...]:
        """Channels that each convolution of a block reads, in order; those of block 1 read 3 first.

        A decoder that mirrors the block has them in reverse.
        """
        above = self.channels[block - 2] if block > 1 else 3
        return (above, *[self.channels[block - 1]] * (vgg_layers.CONVOLUTIONS[block - 1] - 1))

    def _computed(self, taps):
        """The maps up to the last of `taps`."""
        for name in taps:
            self.tap(name)
        taps = [SWITCHES.get(name, name) for name in taps]
        return TAPS[: max(map(TAPS.index, taps), default=-1) + 1]


class VGG(nn.Module):
    """The maps of a VGG-16, computed up to the last one asked for.

    A layer's parameters are below its name: `conv1_1/kernel`, `conv1_1/bias`, `fc6/kernel`, ...;
    with batch normalization `bn1_1/scale`, `bn1_1/bias`, and `bn6`, `bn7` of fc6 and fc7.

    Attributes:
      config: the network.
      taps: the maps to return, of `vgg_layers.TAPS` and `SWITCHES`.
      dtype: of convolutions, see `reseg_jax.layers.mixed`; None: the pixels', as the maps are.
    """

    config: VGG16
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
          pixels: float32 [B, H, W, 3]. If the deepest stride does not divide H and W, poolings
            round up.
          train: batch normalization by the statistics of the batch.
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: pixels that count, int32 [2] or [B, 2], if the images do not fill the array,
            which is zero beyond (`reseg_jax.padding`). Maps are zero there, too.

        Returns:
          {tap: [B, ceil(H / s), ceil(W / s), C]} with the tap's stride s and channels C; more with
          a border, less with "VALID" padding. There is dropout if there is a random key called
          "dropout".

        Raises:
          UserError: a tap is unknown, or `valid_size` is given with a border or "VALID" padding.
        """
        config, maps, x = self.config, {}, pixels
        computed = config._computed(self.taps)
        if valid_size is not None:
            paddings = {config.padding, config.fc_padding if "fc6" in computed else "SAME"}
            if config.border or paddings != {"SAME"}:
                raise UserError(
                    f"border={config.border}, padding={config.padding}, fc_padding="
                    f"{config.fc_padding}: images fill their array, so leave out valid_size"
                )
            stride = max(config.tap(name).stride for name in computed)
            valid_size = valid_cells(valid_size, stride) * stride
        if config.border:
            x = jnp.pad(x, ((0, 0), *[(config.border, config.border)] * 2, (0, 0)))
        pooled = False
        for name, following in zip(computed, (*computed[1:], ""), strict=True):
            if is_pool(name):
                if (switches := f"switches{block_of(name)}") in self.taps:
                    x, maps[switches] = max_pool_with_switches(x)
                elif not pooled:
                    x = self._pool(name, x)
                if valid_size is not None and config.halves(name):
                    valid_size = valid_size // 2
                x, pooled = clear(x, valid_size), False
                x = self._dropped(x) if block_of(name) in config.dropout_blocks else x
            else:
                # In the convolution if nobody reads the map between; it is cleared after that.
                pooled = config.pools_by_two(following) and not config.batch_norm
                pooled = pooled and not {name, f"switches{block_of(name)}"} & set(self.taps)
                x = self._layer(name, x, train, weight, valid_size, pooled)
                x = x if pooled else clear(x, valid_size)
            maps[name] = x
        return {tap: maps[tap].astype(pixels.dtype) for tap in self.taps}

    def _pool(self, name, x):
        if self.config.pool_size == 3:
            return max_pool_centered(x, 3, 2 if self.config.halves(name) else 1)
        return max_pool(x) if self.config.halves(name) else x

    def _layer(self, name, x, train, weight, valid_size, pool):
        """A convolution, what normalizes it, ReLU, and after a fully connected one dropout."""
        config, connected = self.config, name in vgg_layers.FULLY_CONNECTED
        convolution = Convolution(
            config.tap(name).channels,
            vgg_layers.FULLY_CONNECTED.get(name, (3, 3)),
            config.fc_padding if connected else config.padding,
            config.dilation(name),
            relu=not config.batch_norm,
            pool=pool,
            dtype=self.dtype,
            name=name,
        )
        x = convolution(x)
        if config.batch_norm:
            number = name.removeprefix("conv").removeprefix("fc")
            norm = BatchNorm(output_dtype=self.dtype, name=f"bn{number}")
            x = nn.relu(norm(x, train=train, weight=weight, valid_size=valid_size))
        return self._dropped(x) if connected else x

    def _dropped(self, x):
        return nn.Dropout(self.config.dropout, deterministic=not self.has_rng("dropout"))(x)
