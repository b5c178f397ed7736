"""ReSeg: VGG features -> ReNet layers -> transposed convolutions -> classifier.

Paper: Visin et al., "ReSeg", CVPR workshops 2016, section 3. Numbers without another source are
those of the CamVid network, Table 4 and section 4.2; if paper and released code differ, the
comment at the field says so.

Dimension key: `B H W` image axes, `I J` cells of a feature map, `C D F` channels, `U` units of a
direction, `K` classes.
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError, check_choice, check_share
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import glorot_uniform
from reseg_jax.layers.mixed import add_bias, cast
from reseg_jax.layers.renet import INITIALIZATIONS, Pointwise, ReNet
from reseg_jax.layers.upsample import TransposedConv, depth_to_space
from reseg_jax.networks.base import PIXELS, NetworkConfig, check_layers
from reseg_jax.padding import clear, valid_cells
from reseg_jax.recurrent.sweep import GATES, IMPLEMENTATIONS

ORDERS = (("vertical", "horizontal"), ("horizontal", "vertical"))
CONTEXTS = ("renet", "pointwise")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How sweeps are computed, not what: `reseg_jax.sweep` says what each does.

    Attributes:
      unroll: steps of a sweep per iteration of the compiled loop, or "all".
      remat: compute the gates again in the backward pass: less memory in training, more time.
      implementation: "scan", or "pallas", a GPU kernel.
    """

    unroll: int | str = 1
    remat: bool = False
    implementation: str = "scan"

    def __post_init__(self):
        if self.unroll is True:  # equals 1 in Python, and so would two configs be equal
            object.__setattr__(self, "unroll", "all")
        if self.unroll != "all" and (isinstance(self.unroll, str) or self.unroll < 1):
            raise UserError(f'unroll={self.unroll!r}: give a number of steps from 1, or "all"')
        check_choice("implementation", self.implementation, IMPLEMENTATIONS)


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
    # Not in the paper, for `camvid_modern`: layer normalization of what a ReNet layer reads;
    # maps of the backbone that join the upsampling at their stride; a 3x3 convolution after each
    # of these; and dropout of what ReNet layers give.
    layer_norm: bool = False
    skips: tuple[str, ...] = ()
    refine: bool = False
    dropout: float = 0.0
    execution: Execution = Execution()

    def __post_init__(self):
        super().__post_init__()
        check_choice("cell", self.cell, GATES)
        check_choice("order", self.order, ORDERS)
        check_choice("initialization", self.initialization, INITIALIZATIONS)
        check_choice("context", self.context, CONTEXTS)
        check_layers("patch_sizes", self.patch_sizes, "units", self.units)
        check_layers(
            "upsample_sizes", self.upsample_sizes, "upsample_channels", self.upsample_channels
        )
        if self.cell == "mingru" and self.initialization == "normal":
            raise UserError(
                "initialization=normal is for recurrent kernels, and mingru has none: leave it out"
            )
        check_share("dropout", self.dropout)
        self._check_skips()

    def _check_skips(self):
        if self.refine and not self.skips:
            raise UserError(
                "refine=True needs skips, and there are none: set skips, or refine=False"
            )
        within = self.backbone.layers((self.tap,)) if self.backbone else ()
        for name in self.skips:
            if name not in within:
                raise UserError(
                    f"skips: {name!r} is not computed on the way to tap={self.tap}; "
                    f"known are: {', '.join(within) or 'none'}"
                )
            if self.tap_stride(name) not in self.upsample_strides:
                strides = ", ".join(map(str, self.upsample_strides))
                raise UserError(
                    f"skips: {name} has stride {self.tap_stride(name)}, but the upsampling passes "
                    f"through {strides} only: choose another layer, or other upsample_sizes"
                )

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
        stride = self.tap_stride(self.taps[0])
        return tuple(stride * math.prod(sizes) for sizes in zip(*self.patch_sizes, strict=True))

    @property
    def upsample_strides(self) -> tuple[int | None, ...]:
        """Pixels that a cell spans after each upsampling; None if no square of whole pixels."""
        strides, (height, width) = [], self.cell_size
        for h, w in self.upsample_sizes:
            height, width = height / h, width / w
            whole = height == width and height.is_integer()
            strides.append(int(height) if whole else None)
        return tuple(strides)

    @property
    def output_stride(self) -> tuple[float, float]:
        """1 if the upsampling undoes the strides; Table 4 as printed ends at half resolution: 2."""
        upsampled = (math.prod(sizes) for sizes in zip(*self.upsample_sizes, strict=True))
        return tuple(n / m for n, m in zip(self.cell_size, upsampled, strict=True))

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


class Skip(nn.Module):
    """Maps of the backbone joined to the upsampled ones of the same stride: not in the paper.

    Concatenated and mixed by a 1x1 convolution with ReLU, as wide as the upsampling is. With
    `refine` a 3x3 convolution then adds what neighbors tell: relu(x + convolution(x)).
    """

    normalize: bool
    refine: bool = False
    dtype: str | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, skip: jax.Array, valid_size: jax.Array | None = None
    ) -> jax.Array:
        """x [B, h, w, F], skip [B, <= h, <= w, C] -> [B, h, w, F]; padding is at the far ends.

        valid_size: pixels of x that count (`reseg_jax.padding`); beyond its own, a skip is zero.
        """
        if self.normalize:
            skip = jax.nn.standardize(skip)
        missing = [(0, have - got) for have, got in zip(x.shape[1:3], skip.shape[1:3], strict=True)]
        skip = jnp.pad(skip, ((0, 0), *missing, (0, 0)))
        width = x.shape[-1]
        kernel = self.param("kernel", glorot_uniform, (width + skip.shape[-1], width))
        bias = self.param("bias", nn.initializers.zeros, (width,))
        x, skip, kernel = cast(self.dtype, x, skip, kernel)
        # The product of the two concatenated, without copying them together.
        x = nn.relu(add_bias(x @ kernel[:width] + skip @ kernel[width:], bias))
        if self.refine:
            refine = Convolution(width, dtype=self.dtype, name="refine")
            x = nn.relu(x + refine(clear(x, valid_size)))
        return x


class ReSeg(nn.Module):
    """Everything above the backbone: ReNet layers, upsampling, skips, classifier."""

    config: ReSegConfig

    def _context(self, layer):
        """The layer that puts every cell into context, number `layer`."""
        config = self.config
        shared = {"units": config.units[layer], "patch_size": config.patch_sizes[layer]}
        shared |= {"dtype": config.dtype, "name": f"renet_{layer}"}
        if config.context == "pointwise":
            return Pointwise(**shared)
        execution = config.execution
        return ReNet(
            **shared,
            cell=config.cell,
            order=config.order,
            chained=config.chained,
            initialization=config.initialization,
            unroll=True if execution.unroll == "all" else execution.unroll,
            remat=execution.remat,
            implementation=execution.implementation,
        )

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
        config = self.config
        x = maps[config.taps[0]]
        if valid_size is not None:
            valid_size = valid_cells(valid_size, config.tap_stride(config.taps[0]))
        for i, patch_size in enumerate(config.patch_sizes):
            if config.layer_norm:
                # No scale and shift of its own: the linear map that follows has both.
                x = jax.nn.standardize(x)
            x = self._context(i)(x, valid_size)
            valid_size = None if valid_size is None else valid_cells(valid_size, patch_size)
            if config.dropout:
                x = nn.Dropout(config.dropout, deterministic=not self.has_rng("dropout"))(x)
        # A 1x1 classifier gives the same before depth_to_space as after it, and leaves fewer
        # numbers to move: the last upsampling is put in order after it, unless a skip joins there.
        in_order = True
        for i, (channels, size) in enumerate(
            zip(config.upsample_channels, config.upsample_sizes, strict=True)
        ):
            x = x if in_order else depth_to_space(x)
            upsample = TransposedConv(channels, size, config.dtype, name=f"upsample_{i}")
            x, in_order = upsample(x), False
            if valid_size is not None:
                valid_size = valid_size * jnp.broadcast_to(jnp.int32(size), valid_size.shape)
            for name in config.skips:
                if config.tap_stride(name) == config.upsample_strides[i]:
                    x, in_order = x if in_order else depth_to_space(x), True
                    how = (config.layer_norm, config.refine, config.dtype)
                    skip = Skip(*how, name=f"skip_{name}")
                    x = skip(x, maps[name], valid_size)
        classifier = nn.Dense(config.outputs, kernel_init=glorot_uniform, name="classifier")
        x = classifier(x.astype(jnp.float32))
        return x if in_order else depth_to_space(x)


Config, Network = ReSegConfig, ReSeg
