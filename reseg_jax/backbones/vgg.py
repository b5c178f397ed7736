"""VGG-16 up to a named layer, its classifier included (Simonyan and Zisserman 2015, column D).

    block 1..5: convolutions 3x3 with ReLU, then a 2x2 max pooling
    fc6, fc7:   the classifier's first two layers as a 7x7 and a 1x1 convolution

As convolutions the fully connected layers read images of any size (Long, Shelhamer and Darrell
2015, "FCN", section 3.1); the third, which tells ImageNet's classes, is left out.

Dimension key: `B H W` image axes.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.base import Backbone, Tap
from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.norm import BatchNorm
from reseg_jax.layers.pooling import max_pool, max_pool_with_switches
from reseg_jax.padding import clear, valid_cells

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # per block: table 1 of the paper, column D
_CHANNELS = (64, 128, 256, 512, 512)  # per block: the same table

VGG_LAYERS = {  # name -> (output channels, stride) of the 13 convolutions, in order
    f"conv{block}_{index}": (channels, 2 ** (block - 1))
    for block, (channels, count) in enumerate(zip(_CHANNELS, _CONVOLUTIONS, strict=True), start=1)
    for index in range(1, count + 1)
}

_FULLY_CONNECTED = {"fc6": (7, 7), "fc7": (1, 1)}  # kernel sizes; pool5 of 224x224 pixels is 7x7


def _names():
    """Every map in the order in which it is computed."""
    for block, count in enumerate(_CONVOLUTIONS, start=1):
        yield from (f"conv{block}_{index}" for index in range(1, count + 1))
        yield f"pool{block}"
    yield from _FULLY_CONNECTED


TAPS = tuple(_names())
"""conv1_1, conv1_2, pool1, ..., conv5_3, pool5, fc6, fc7: convolutions are read after the ReLU."""

SWITCHES = {f"switches{block}": f"pool{block}" for block in range(1, len(_CONVOLUTIONS) + 1)}
"""More maps: where in its window each maximum of a pooling was, see `max_pool_with_switches`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VGG16(Backbone):
    """The VGG-16 below a network. Without arguments: frozen, in the paper's size.

    Attributes:
      batch_norm: batch normalization between each convolution and its ReLU.
      channels: of the convolutions of each of the five blocks.
      fc_channels: of fc6 and fc7.
      fc_padding: "SAME" keeps the size of pool5 in fc6; "VALID", as in FCN's released networks,
        takes off 6 cells, 3 on each side.
      border: rings of zeros put around the preprocessed image. FCN's released networks pad
        conv1_1 by 100 pixels: that is a border of 99 and the padding "SAME".
      dropout: share that is dropped after fc6 and after fc7, and after the poolings of
        `dropout_blocks`.
      dropout_blocks: 1..5, the blocks after whose pooling it is dropped; Bayesian SegNet has
        (3, 4, 5).
    """

    name: ClassVar[str] = "vgg"

    batch_norm: bool = False
    channels: tuple[int, ...] = _CHANNELS
    fc_channels: int = 4096
    fc_padding: str = "SAME"
    border: int = 0
    dropout: float = 0.5  # Simonyan and Zisserman 2015, section 3.1
    dropout_blocks: tuple[int, ...] = ()

    def __post_init__(self):
        if len(self.channels) != len(_CHANNELS) or min(self.channels) < 1 or self.fc_channels < 1:
            raise UserError(
                f"channels={self.channels}, fc_channels={self.fc_channels}: give the first for "
                f"each of VGG-16's {len(_CHANNELS)} blocks, and all of them at least 1"
            )
        check_choice("fc_padding", self.fc_padding, ("SAME", "VALID"))
        if self.border < 0:
            raise UserError(f"border={self.border}: give a number of pixels, 0 for none")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout}: give a share from 0 to below 1")
        if not set(self.dropout_blocks) <= set(range(1, len(_CONVOLUTIONS) + 1)):
            raise UserError(f"dropout_blocks={self.dropout_blocks}: give numbers from 1 to 5")

    def tap(self, name: str) -> Tap:
        """Channels and stride of a map.

        Args:
          name: one of `TAPS` or `SWITCHES`.

        Raises:
          UserError: the name is unknown.
        """
        name = SWITCHES.get(name, name)
        check_choice("tap", name, TAPS)
        if name in _FULLY_CONNECTED:
            return Tap(self.fc_channels, 2 ** len(self.channels))
        block = _block(name)
        return Tap(self.channels[block - 1], 2 ** (block if _is_pool(name) else block - 1))

    def layers(self, taps: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the layers with parameters that are computed for maps, in order.

        Args:
          taps: some of `TAPS` and `SWITCHES`.

        Raises:
          UserError: a name is unknown.
        """
        return tuple(name for name in self._computed(taps) if not _is_pool(name))

    def module(self, taps: tuple[str, ...], dtype: str | None = None) -> "VGG":
        """The Flax module that computes these maps."""
        return VGG(self, taps, dtype)

    def inputs(self, block: int) -> tuple[int, ...]:
        """Channels that each convolution of a block reads, in order; those of block 1 read 3 first.

        A decoder that mirrors the block has them in reverse.
        """
        above = self.channels[block - 2] if block > 1 else 3
        return (above, *[self.channels[block - 1]] * (_CONVOLUTIONS[block - 1] - 1))

    def _computed(self, taps):
        """The maps up to the last of `taps`."""
        for name in taps:
            self.tap(name)
        taps = [SWITCHES.get(name, name) for name in taps]
        return TAPS[: max(map(TAPS.index, taps), default=-1) + 1]


def _block(name):
    """The block's number in conv3_1 or pool3."""
    return int(name.removeprefix("conv").removeprefix("pool")[0])


def _is_pool(name):
    return name.startswith("pool")


class VGG(nn.Module):
    """The maps of a VGG-16, computed up to the last one asked for.

    A layer's parameters are below its name: `conv1_1/kernel`, `conv1_1/bias`, `fc6/kernel`, ...;
    with batch normalization `bn1_1/scale`, `bn1_1/bias`, and `bn6`, `bn7` of fc6 and fc7.

    Attributes:
      config: the network.
      taps: the maps to return, of `TAPS` and `SWITCHES`.
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
          a border, less after fc6 with "VALID" padding. There is dropout if there is a random
          key called "dropout".

        Raises:
          UserError: a tap is unknown, or `valid_size` is given with a border or "VALID" padding.
        """
        config, maps, x = self.config, {}, pixels
        computed = config._computed(self.taps)
        if valid_size is not None:
            if config.border or ("fc6" in computed and config.fc_padding == "VALID"):
                raise UserError(
                    f"border={config.border}, fc_padding={config.fc_padding}: images must fill "
                    "their array, so leave out valid_size, or use border=0 and fc_padding=SAME"
                )
            stride = max(config.tap(name).stride for name in computed)
            valid_size = valid_cells(valid_size, stride) * stride
        if config.border:
            ring = (config.border, config.border)
            x = jnp.pad(x, ((0, 0), ring, ring, (0, 0)))
        pooled = False
        for name, following in zip(computed, (*computed[1:], ""), strict=True):
            if _is_pool(name):
                if (switches := f"switches{_block(name)}") in self.taps:
                    x, maps[switches] = max_pool_with_switches(x)
                else:
                    x = x if pooled else max_pool(x)
                pooled, valid_size = False, None if valid_size is None else valid_size // 2
                x = self._dropped(x) if _block(name) in config.dropout_blocks else x
            else:
                # In the convolution if nobody reads the map between. Behind the valid size, which
                # is even, the pooled map is cleared instead.
                pooled = _is_pool(following) and not config.batch_norm
                pooled = pooled and not {name, f"switches{_block(name)}"} & set(self.taps)
                x = self._layer(name, x, train, weight, valid_size, pooled)
                x = clear(x, valid_size // 2 if pooled and valid_size is not None else valid_size)
            maps[name] = x
        return {tap: maps[tap].astype(pixels.dtype) for tap in self.taps}

    def _layer(self, name, x, train, weight, valid_size, pool):
        """A convolution, what normalizes it, ReLU, and after a fully connected one dropout."""
        config, connected = self.config, name in _FULLY_CONNECTED
        convolution = Convolution(
            config.tap(name).channels,
            _FULLY_CONNECTED.get(name, (3, 3)),
            config.fc_padding if connected else "SAME",
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
