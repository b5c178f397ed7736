"""What a ReSeg network is made of, as frozen data: the static argument of `jit`, JSON on disk.

Paper: Visin et al., "ReSeg", CVPR workshops 2016. Numbers without another source are those of
the CamVid network, Table 4 and section 4.2; where paper and released code differ, the comment
at the field says so.
"""

import dataclasses
import json
import math
import types
import typing

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
    finetune_vgg: bool = False  # section 3: "not fine-tuned"
    cell: str = "gru"  # section 3
    # Table 4 prints (2x2), (1x1), which with its two upsamplers ends at half resolution;
    # the released CamVid run has 1x1 twice, which ends at the image's size.
    patch_sizes: tuple[tuple[int, int], ...] = ((1, 1), (1, 1))  # (height, width)
    units: tuple[int, ...] = (100, 100)  # per direction
    # Section 3.1; the released code sweeps horizontally first.
    order: tuple[str, str] = ("vertical", "horizontal")
    # "pointwise" puts 1x1 convolutions of the same width in place of the sweeps: the ablation
    # that shows what the sweeps are for.
    context: str = "renet"
    upsample_sizes: tuple[tuple[int, int], ...] = ((2, 2), (2, 2))  # (height, width)
    upsample_channels: tuple[int, ...] = (50, 50)
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
        if self.classes and len(self.classes.names) != self.num_classes:
            raise UserError(
                f"num_classes={self.num_classes} but {len(self.classes.names)} class names"
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


def to_dict(config) -> dict:
    """A config dataclass as plain data for JSON."""
    return dataclasses.asdict(config)


def from_dict(cls, values: dict):
    """The config dataclass `cls` from what `to_dict` gave, before or after a trip through JSON."""
    unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
    if unknown:
        raise UserError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _from_plain(hints[name], value) for name, value in values.items()})


def _from_plain(hint, value):
    if isinstance(value, dict):
        (nested,) = [h for h in _members(hint) if dataclasses.is_dataclass(h)]
        return from_dict(nested, value)
    return _tuples(value)


def _members(hint):
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _tuples(value):
    """Lists, which JSON has in place of tuples, back as tuples: a config must be hashable."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def override(config, assignments: typing.Iterable[str]):
    """`config` with `key=value` texts applied; a value is JSON, or else a plain word.

    >>> override(ReSegConfig(), ["cell=lstm", "units=[32, 32]"]).units
    (32, 32)
    """
    hints = typing.get_type_hints(type(config))
    changes = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or name not in hints:
            raise UserError(
                f"--set {assignment}: write field=value; the fields are {', '.join(hints)}"
            )
        try:
            value = _tuples(json.loads(text.lower() if text in ("True", "False") else text))
        except json.JSONDecodeError:
            value = None if text == "None" else text
        _check_type(name, hints[name], value)
        changes[name] = value
    return dataclasses.replace(config, **changes)


def _check_type(name, hint, value):
    if not _matches(hint, value):
        kind = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint
        raise UserError(f"--set {name}={value!r}: {name} must be {kind}")


def _matches(hint, value):
    """Whether `value` is what a field of these dataclasses is annotated with, tuples inside too."""
    if isinstance(hint, types.UnionType):
        return any(_matches(member, value) for member in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return len(kinds) == len(value) and all(map(_matches, kinds, value))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def differences(ours, theirs) -> list[str]:
    """Which fields of two config dataclasses differ, as 'name: a here, b there' texts."""
    return [
        f"{field.name}: {getattr(ours, field.name)!r} here, {getattr(theirs, field.name)!r} there"
        for field in dataclasses.fields(ours)
        if repr(getattr(ours, field.name)) != repr(getattr(theirs, field.name))
    ]
