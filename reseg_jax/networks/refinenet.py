"""RefineNet: each stage of a ResNet refines what is known from the deeper ones.

Paper: Lin, Milan, Shen and Reid, "RefineNet: Multi-path refinement networks for high-resolution
semantic segmentation", CVPR 2017, section 3, figures 2 and 3.

    reduction  a 3x3 convolution of each stage's map
    block      for stage 5 to 2: two residual conv units; the fusion with the block above, but for
               stage 5; chained residual pooling; residual conv units
    logits     dropout, a 3x3 convolution of the last block

The parts are in `reseg_jax.layers.refinement`. The paper's block has an input path of residual
units for the map from above too, one unit after the pooling and, as far as is known, two poolings;
the released networks have no such path, three units and four poolings, and theirs is the published
size. They are the default.

Dimension key: `B` images, `h w` cells, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.resnet import ResNet
from reseg_jax.errors import UserError, check_share
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.refinement import (
    ChainedResidualPooling,
    MultiResolutionFusion,
    ResidualConvUnit,
)
from reseg_jax.networks.base import NetworkConfig

_INPUT_UNITS = 2  # residual conv units of a path (section 3.2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefineNetConfig(NetworkConfig):
    """RefineNet (Lin et al. 2017). Without arguments: on ResNet-50, as released.

    Attributes:
      channels: of the blocks for stage 5, 4, 3 and 2.
      poolings: of each chained residual pooling.
      output_units: residual conv units at the end of each block.
      dropout: share that is dropped before the classifier.
    """

    backbone: ResNet | None = ResNet(trainable=True)
    preprocessing: str = "torchvision"
    channels: tuple[int, ...] = (512, 256, 256, 256)
    poolings: int = 4
    output_units: int = 3
    dropout: float = 0.5

    def __post_init__(self):
        if not isinstance(self.backbone, ResNet):
            raise UserError("backbone: RefineNet reads the maps of a ResNet, so give one")
        super().__post_init__()
        if len(self.channels) != len(self.taps) or min(self.channels) < 1:
            raise UserError(
                f"channels={self.channels}: give {len(self.taps)} numbers from 1, for stage 5 first"
            )
        for name in ("poolings", "output_units"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)}: give 0 or a positive number")
        check_share("dropout", self.dropout)

    @property
    def taps(self) -> tuple[str, ...]:
        """All stages, the deepest first."""
        return ("stage5", "stage4", "stage3", "stage2")

    @property
    def output_stride(self) -> tuple[float, float]:
        """That of stage 2."""
        return (float(self.tap_stride("stage2")),) * 2

    @property
    def uses_dropout(self) -> bool:
        """Before the classifier."""
        return self.dropout > 0


class RefineNetBlock(nn.Module):
    """[B, h, w, C], and from above [B, h', w', C'] -> [B, h, w, C or C', the fewer].

    Parameters are below `input_0`, `input_1`, `fusion`, `pooling` and `output_0`, ...

    Attributes:
      poolings, output_units, dtype: as for `RefineNetConfig`.
    """

    poolings: int
    output_units: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, above: jax.Array | None = None) -> jax.Array:
        for i in range(_INPUT_UNITS):
            x = ResidualConvUnit(self.dtype, name=f"input_{i}")(x)
        if above is not None:
            x = MultiResolutionFusion(self.dtype, name="fusion")([x, above])
        x = ChainedResidualPooling(self.poolings, self.dtype, name="pooling")(x)
        for i in range(self.output_units):
            x = ResidualConvUnit(self.dtype, name=f"output_{i}")(x)
        return x


class RefineNet(nn.Module):
    """Reductions, blocks and classifier.

    Parameters are below `reduce_stage5`, `refine_stage5`, ... and `classifier`.
    """

    config: RefineNetConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [B, h, w, K] from {tap: [B, h, w, C]} of `config.taps`, see `networks.base`.

        train, weight: not used; nothing is normalized here.
        valid_size: not used; images must fill their array.
        """
        del train, weight, valid_size
        config, x = self.config, None
        for tap, channels in zip(config.taps, config.channels, strict=True):
            shared = {"use_bias": False, "dtype": config.dtype}
            reduced = Convolution(channels, name=f"reduce_{tap}", **shared)(maps[tap])
            how = (config.poolings, config.output_units, config.dtype)
            x = RefineNetBlock(*how, name=f"refine_{tap}")(reduced, x)
        x = nn.Dropout(config.dropout, deterministic=not self.has_rng("dropout"))(x)
        classifier = Convolution(config.outputs, name="classifier")
        return classifier(x.astype(jnp.float32))


Config, Network = RefineNetConfig, RefineNet
