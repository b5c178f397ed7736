"""FRRN: a stream of the image's own size, to which a pooled stream adds what it recognizes.

Paper: Pohlen, Hermans, Mathias and Leibe, "Full-resolution residual networks for semantic
segmentation in street scenes", CVPR 2017, section 4 and table 1.

    start     5x5 convolution, three residual units; the residual stream z is a 1x1 convolution
              of that, the pooling stream y goes on
    down      for each level: a 2x2 max pooling of y, full-resolution residual units
    up        for each level but the deepest: y enlarged twofold, full-resolution residual units
    end       y enlarged to the image's size beside z, a 1x1 convolution, three residual units
    logits    a 1x1 convolution

The units are in `reseg_jax.layers.frru`. Enlarging repeats cells. Convolutions that a batch
normalization follows have no bias, nor do the two 1x1 convolutions that divide and join the
streams, which gives the published count of parameters.

Dimension key: `B H W` image axes, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.conv_norm import ConvNorm
from reseg_jax.layers.frru import FullResolutionResidualUnit, ResidualUnit
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.pooling import max_pool
from reseg_jax.layers.upsample import nearest_upsample
from reseg_jax.networks.base import PIXELS, NetworkConfig, check_no_backbone

_RESIDUAL_UNITS = 3  # at the start and at the end (table 1)

Stages = tuple[tuple[int, int], ...]
"""(units, channels) per level."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FRRNConfig(NetworkConfig):
    """FRRN (Pohlen et al. 2017), table 1. Without arguments: FRRN-A; see also `b`.

    Attributes:
      encoder: full-resolution residual units and their channels after each pooling.
      decoder: the same after each enlargement, the deepest first; the last enlargement has none.
      channels: of the start and the end.
      residual_channels: of the residual stream.
    """

    encoder: Stages = ((3, 96), (4, 192), (2, 384), (2, 384))
    decoder: Stages = ((2, 192), (2, 192), (2, 96))
    channels: int = 48
    residual_channels: int = 32

    def __post_init__(self):
        check_no_backbone("FRRN", self.backbone)
        super().__post_init__()
        if len(self.decoder) != len(self.encoder) - 1:
            raise UserError(
                f"encoder has {len(self.encoder)} levels and decoder {len(self.decoder)}: give "
                "decoder one less"
            )
        stages = (*self.encoder, *self.decoder, (self.channels, self.residual_channels))
        if any(len(stage) != 2 or min(stage) < 1 for stage in stages):
            raise UserError(
                f"encoder={self.encoder}, decoder={self.decoder}, channels={self.channels}, "
                f"residual_channels={self.residual_channels}: stages are pairs (units, channels), "
                "all numbers at least 1"
            )

    @classmethod
    def b(cls, **changes) -> "FRRNConfig":
        """FRRN-B, for larger images: one level more."""
        encoder = ((3, 96), (4, 192), (2, 384), (2, 384), (2, 384))
        decoder = ((2, 192), (2, 192), (2, 192), (2, 96))
        return cls(**{"encoder": encoder, "decoder": decoder, **changes})

    @property
    def stride(self) -> int:
        """Image pixels per cell of the deepest level."""
        return 2 ** len(self.encoder)


class FRRN(nn.Module):
    """All of it.

    Parameters are below `start`, `start_0`, ..., `divide`, `down_1_0`, ... (level and unit),
    `up_3_0`, ..., `join`, `end_0`, ... and `classifier`.
    """

    config: FRRNConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of preprocessed images, see `networks.base`.

        Args:
          maps: {"pixels": [B, H, W, 3]} with H and W multiples of `FRRNConfig.stride`.
          train: batch normalization by the statistics of the batch.
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: not used; images must fill their array.

        Returns:
          [B, H, W, K].
        """
        del valid_size
        config, dtype, context = self.config, self.config.dtype, {"train": train, "weight": weight}

        def residual_units(x, name):
            for i in range(_RESIDUAL_UNITS):
                x = ResidualUnit(dtype, name=f"{name}_{i}")(x, **context)
            return x

        def units(y, z, stage, name):
            count, channels = stage
            for i in range(count):
                unit = FullResolutionResidualUnit(channels, dtype, name=f"{name}_{i}")
                y, z = unit(y, z, **context)
            return y, z

        def linear(channels, name):
            shared = {"use_bias": False, "kernel_init": he_normal, "dtype": dtype}
            return Convolution(channels, (1, 1), name=name, **shared)

        start = ConvNorm(config.channels, (5, 5), use_bias=False, dtype=dtype, name="start")
        y = residual_units(start(maps[PIXELS], **context), "start")
        z = linear(config.residual_channels, "divide")(y)
        for level, stage in enumerate(config.encoder, 1):
            y, z = units(max_pool(y), z, stage, f"down_{level}")
        levels = range(len(config.decoder), 0, -1)
        for level, stage in zip(levels, config.decoder, strict=True):
            y, z = units(nearest_upsample(y, 2), z, stage, f"up_{level}")
        x = jnp.concatenate([nearest_upsample(y, 2), z], axis=-1)
        x = residual_units(linear(config.channels, "join")(x), "end")
        classifier = nn.Dense(config.outputs, kernel_init=he_normal, name="classifier")
        return classifier(x.astype(jnp.float32))


Config, Network = FRRNConfig, FRRN
