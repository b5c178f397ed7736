"""ReSeg: VGG features -> ReNet layers -> transposed convolutions -> classifier.

Paper: Visin et al., "ReSeg", CVPR workshops 2016, section 3. Numbers without another source are
those of the CamVid network, Table 4 and section 4.2; if paper and released code differ, the
comment at the field says so.

Dimension key: `B H W` image axes, `I J` cells of a feature map, `C D F` channels, `U` units of a
direction, `K` classes.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import check_share
from reseg_jax.layers import renet_stack, skip_upsampling
from reseg_jax.layers.initializers import glorot_uniform
from reseg_jax.networks.base import PIXELS, NetworkConfig, check_layers
from reseg_jax.padding import valid_cells
from reseg_jax.recurrent.execution import Execution


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReSegConfig(NetworkConfig):
    """A ReSeg network. Without arguments: the paper's CamVid network.

    Per-layer fields are tuples, one entry per layer; their lengths set the number of layers.
    """

    backbone: VGG16 | None = VGG16()  # section 3: "not fine-tuned"
    # The map that the first ReNet layer reads. The released CamVid run cuts VGG-16 after the ReLU
    # of conv3_3, before pool3: stride 4. Without a backbone it is the pixels.
    tap: str = "conv3_3"
    preprocessing: str = "caffe"  # the paper's weights
    cell: str = "gru"  # section 3
    # Table 4 prints (2x2), (1x1), which with its two upsamplings ends at half resolution;
    # the released CamVid run has 1x1 twice, which ends at the image's size.
    patch_sizes: tuple[tuple[int, int], ...] = ((1, 1), (1, 1))  # (height, width)
    units: tuple[int, ...] = (100, 100)  # per direction
    # Section 3.1; the released code sweeps horizontally first.
    order: tuple[str, str] = ("vertical", "horizontal")
    # The released code's backward sweeps read the output of the forward ones, not their input.
    chained: bool = False
    # Section 4.2; "normal" draws input and recurrent kernels from N(0, 0.1), as the released code.
    initialization: str = "orthonormal"
    # "pointwise" puts 1x1 convolutions of the same width in place of the sweeps.
    context: str = "renet"
    upsample_sizes: tuple[tuple[int, int], ...] = ((2, 2), (2, 2))  # (height, width)
    upsample_channels: tuple[int, ...] = (50, 50)
    # Not in the paper, for `camvid_modern`: layer normalization before ReNet layers, dropout after
    # them; maps of the backbone that join the upsampling at their stride, then a 3x3 convolution.
    layer_norm: bool = False
    skips: tuple[str, ...] = ()
    refine: bool = False
    dropout: float = 0.0
    execution: Execution = Execution()

    def __post_init__(self):
        super().__post_init__()
        renet_stack.check(self.cell, self.order, self.initialization, self.context)
        check_layers("patch_sizes", self.patch_sizes, "units", self.units)
        check_layers(
            "upsample_sizes", self.upsample_sizes, "upsample_channels", self.upsample_channels
        )
        check_share("dropout", self.dropout)
        layers = self.backbone.layers((self.tap,)) if self.backbone else ()
        skips = {name: self.tap_stride(name) for name in self.skips}
        skip_upsampling.check(skips, self.upsample_strides, self.tap, layers, self.refine)

    @classmethod
    def no_vgg(cls, **changes) -> "ReSegConfig":
        """The paper's network on raw pixels (Table 1, "no VGG"): RGB / 255 in 2x2 patches."""
        no_vgg = {"backbone": None, "preprocessing": "unit", "patch_sizes": ((2, 2), (1, 1))}
        return cls(**(no_vgg | changes))

    @property
    def taps(self) -> tuple[str, ...]:
        """The map that the first ReNet layer reads, then those of the skips."""
        first = self.tap if self.backbone else PIXELS
        return tuple(dict.fromkeys((first, *self.skips)))

    @property
    def cell_size(self) -> tuple[int, int]:
        """Image pixels that a cell of the last ReNet layer spans, (height, width)."""
        return renet_stack.cell_size(self.tap_stride(self.taps[0]), self.patch_sizes)

    @property
    def upsample_strides(self) -> tuple[int | None, ...]:
        """Pixels that a cell spans after each upsampling; None if no square of whole pixels."""
        return skip_upsampling.strides(self.cell_size, self.upsample_sizes)

    @property
    def output_stride(self) -> tuple[float, float]:
        """1 if the upsampling undoes the strides; Table 4 as printed ends at half resolution: 2."""
        return skip_upsampling.output_stride(self.cell_size, self.upsample_sizes)

    @property
    def exact_padding(self) -> bool:
        """Whether an image in a larger array can give what it gives by itself.

        Not with local contrast normalization, whose windows are cut off at the array's end, and
        not if upsampling leaves the rest to interpolation.
        """
        return self.contrast == "none" and self.upsample_strides[-1] == 1

    @property
    def uses_dropout(self) -> bool:
        return self.dropout > 0


class ReSeg(nn.Module):
    """Everything above the backbone: ReNet layers, upsampling, skips, classifier."""

    config: ReSegConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """{tap: [B, h, w, C]} -> logits [B, h', w', K], see `networks.base`.

        valid_size: pixels of the image, int32 [2] or [B, 2], that count (`reseg_jax.padding`).
        """
        config, first = self.config, self.config.taps[0]
        sweeps = (config.cell, config.order, config.chained, config.initialization)
        added = (config.context, config.layer_norm, config.dropout, config.execution, config.dtype)
        context = renet_stack.ReNetStack(config.units, config.patch_sizes, *sweeps, *added)
        layers = (config.upsample_channels, config.upsample_sizes, config.upsample_strides)
        skips = tuple((name, config.tap_stride(name)) for name in config.skips)
        joined = (skips, config.layer_norm, config.refine, config.dtype)
        upsampling = skip_upsampling.SkipUpsampling(*layers, *joined)
        for part in (context, upsampling):
            nn.share_scope(self, part)  # their parameters are not one name deeper
        if valid_size is not None:
            valid_size = valid_cells(valid_size, config.tap_stride(first))
        x, valid_size = context(maps[first], valid_size)
        x = upsampling(x, maps, valid_size)
        classifier = nn.Dense(config.outputs, kernel_init=glorot_uniform, name="classifier")
        return skip_upsampling.in_order(classifier(x.astype(jnp.float32)))


Config, Network = ReSegConfig, ReSeg
