"""What a ReSeg network is made of, as frozen data: the static argument of `jit`.

Paper: Visin et al., "ReSeg", CVPR workshops 2016. Numbers without another source are those of
the CamVid network, Table 4 and section 4.2; where paper and released code differ, the comment
at the field says so.
"""

import dataclasses
import math

from reseg_jax.errors import UserError

VOID = 255
"""Label of a pixel without truth, everywhere inside the library (the PASCAL VOC convention)."""

VGG_LAYERS = {  # name -> (output channels, stride), in order; Simonyan & Zisserman 2015, column D
    f"conv{block}_{index}": (channels, 2 ** (block - 1))
    for block, (channels, count) in enumerate(
        [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1
    )
    for index in range(1, count + 1)
}

CHOICES = {
    "vgg_layer": (None, *VGG_LAYERS),
    "preprocessing": ("caffe", "torchvision", "unit"),
    "cell": ("gru", "lstm", "rnn", "mingru"),  # mingru is ours, not the paper's
    "implementation": ("scan", "pallas"),
    "order": (("vertical", "horizontal"), ("horizontal", "vertical")),
    "initialization": ("orthonormal", "normal"),
    "contrast": ("none", "subtractive", "divisive"),
    "context": ("renet", "pointwise"),
}


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a dataset: they travel with the config, so that a model can draw and name.

    names:   one a class, in label order.
    palette: one (red, green, blue) a class.
    void:    value in the dataset's label files of a pixel without truth (read as `VOID`).
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void: int = VOID

    def __post_init__(self):
        if len(self.names) != len(self.palette):
            raise UserError(
                f"{len(self.names)} class names but {len(self.palette)} colours: give one each"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class ReSegConfig:
    """A ReSeg network. Without arguments: the paper's CamVid network.

    Per-layer fields are tuples, one entry a layer; their lengths set the number of layers.
    """

    num_classes: int = 11
    # The released CamVid run cuts VGG-16 after the ReLU of conv3_3, before pool3: stride 4.
    # None is the paper's "no VGG" network, which reads the pixels.
    vgg_layer: str | None = "conv3_3"
    # How pixels enter: "caffe" BGR minus mean (the paper's weights), "torchvision" RGB / 255
    # minus mean over deviation, "unit" RGB / 255. Whoever loads VGG weights sets it to match.
    preprocessing: str = "caffe"
    # Local contrast normalisation of the pixels, in place of the mean (Table 4, "LCN").
    contrast: str = "none"
    finetune_vgg: bool = False  # section 3: "not fine-tuned"
    cell: str = "gru"  # section 3
    # Table 4 prints (2x2), (1x1), which with its two upsamplers ends at half resolution;
    # the released CamVid run has 1x1 twice, which ends at the image's size.
    patch_sizes: tuple[tuple[int, int], ...] = ((1, 1), (1, 1))  # (height, width)
    units: tuple[int, ...] = (100, 100)  # per direction
    # Section 3.1; the released code sweeps horizontally first.
    order: tuple[str, str] = ("vertical", "horizontal")
    # The released code's backward sweeps read the output of the forward ones, not their input.
    chained: bool = False
    # Section 4.2; "normal" draws input and recurrent kernels from N(0, 0.1), as the released code.
    initialization: str = "orthonormal"
    # "pointwise" puts 1x1 convolutions of the same width in place of the sweeps: the ablation
    # that shows what the sweeps are for.
    context: str = "renet"
    upsample_sizes: tuple[tuple[int, int], ...] = ((2, 2), (2, 2))  # (height, width)
    upsample_channels: tuple[int, ...] = (50, 50)
    # The released code trains void as one more class, which it may also predict.
    void_class: bool = False
    # Not in the paper, for `camvid_modern`: layer normalisation of what a ReNet layer reads;
    # VGG layers that join the upsampling where it has come to their stride; a 3x3 convolution
    # after each of these; and dropout of what ReNet layers give.
    layer_norm: bool = False
    skips: tuple[str, ...] = ()
    refine: bool = False
    dropout: float = 0.0
    # How the sweeps are computed, not what: `reseg_jax.sweep` says what each does.
    unroll: int | bool = 1  # steps of a sweep per loop iteration; True: all of them
    recompute: bool = False  # less memory in training, more time
    implementation: str = "scan"
    classes: Classes | None = None

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(map(str, choices))
                raise UserError(f"{name}={getattr(self, name)!r} is unknown; known are: {known}")
        _check_layers("patch_sizes", self.patch_sizes, "units", self.units)
        _check_layers(
            "upsample_sizes", self.upsample_sizes, "upsample_channels", self.upsample_channels
        )
        if self.num_classes < 2:
            raise UserError(f"num_classes={self.num_classes}: a softmax needs at least 2 classes")
        if self.unroll is not True and self.unroll < 1:
            raise UserError(f"unroll={self.unroll}: give a number of steps from 1, or True")
        if self.finetune_vgg and self.vgg_layer is None:
            raise UserError("finetune_vgg=True needs a VGG: set vgg_layer, for example conv3_3")
        if self.cell == "mingru" and self.initialization == "normal":
            raise UserError("initialization=normal is of recurrent kernels, and mingru has none")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout}: give a share from 0 to below 1")
        self._check_skips()
        if self.classes and len(self.classes.names) != self.num_classes:
            raise UserError(
                f"num_classes={self.num_classes} but {len(self.classes.names)} class names"
            )

    def _check_skips(self):
        if self.refine and not self.skips:
            raise UserError(
                "refine=True is of skips, and there are none: set skips, or refine=False"
            )
        names = list(VGG_LAYERS) if self.vgg_layer else []
        within = names[: names.index(self.vgg_layer) + 1] if names else []
        for name in self.skips:
            if name not in within:
                raise UserError(
                    f"skips: {name!r} is not computed on the way to vgg_layer={self.vgg_layer}; "
                    f"known are: {', '.join(within) or 'none'}"
                )
            if VGG_LAYERS[name][1] not in self.upsample_strides:
                strides = ", ".join(map(str, self.upsample_strides))
                raise UserError(
                    f"skips: {name} has stride {VGG_LAYERS[name][1]}, but the upsampling passes "
                    f"through {strides} alone"
                )

    # By their texts: `unroll=True` equals `unroll=1` in Python, and `jit`, whose static argument
    # a config is, would answer for the one with the program of the other.
    def __eq__(self, other):
        return isinstance(other, ReSegConfig) and repr(self) == repr(other)

    def __hash__(self):
        return hash(repr(self))

    @classmethod
    def no_vgg(cls, **changes) -> "ReSegConfig":
        """The paper's network on raw pixels (Table 1, "no VGG"): RGB / 255 in 2x2 patches."""
        no_vgg = {
            "vgg_layer": None,
            "preprocessing": "unit",
            "patch_sizes": ((2, 2), (1, 1)),
        }
        return cls(**(no_vgg | changes))

    @property
    def stride(self) -> tuple[int, int]:
        """Image pixels a cell of the last ReNet layer spans, (height, width)."""
        vgg = VGG_LAYERS[self.vgg_layer][1] if self.vgg_layer else 1
        return tuple(vgg * math.prod(sizes) for sizes in zip(*self.patch_sizes, strict=True))

    @property
    def upsample_strides(self) -> tuple[int | None, ...]:
        """Image pixels a cell spans after each upsampling layer; None where not a square."""
        strides, (height, width) = [], self.stride
        for h, w in self.upsample_sizes:
            height, width = height / h, width / w
            strides.append(int(height) if height == width and height >= 1 else None)
        return tuple(strides)

    @property
    def sees_end(self) -> bool:
        """Whether pixels know where their array ends, even if told to look inside of it alone.

        So with local contrast normalisation, whose windows are cut off there, and where upsampling
        leaves the rest to interpolation.
        """
        return self.contrast != "none" or self.upsample_strides[-1] != 1

    @property
    def outputs(self) -> int:
        """Logits a pixel: the classes and, if it is trained, void behind them."""
        return self.num_classes + self.void_class


def _check_layers(sizes_name, sizes, widths_name, widths):
    if len(sizes) != len(widths) or not sizes:
        raise UserError(
            f"{sizes_name} has {len(sizes)} layers and {widths_name} {len(widths)}: "
            "give both one entry a layer, at least one layer"
        )
    if any(len(size) != 2 or min(size) < 1 for size in sizes) or min(widths) < 1:
        raise UserError(
            f"{sizes_name}={sizes}, {widths_name}={widths}: sizes are (height, width) pairs, "
            "all numbers at least 1"
        )
