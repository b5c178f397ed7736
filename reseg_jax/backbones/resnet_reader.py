"""ResNet from torchvision's files, by the names of our parameters.

torchvision (torchvision/models/resnet.py) counts stages from 1 and blocks from 0:

    stem                        conv1, bn1
    stage{s}_{b}/first          layer{s - 1}.{b - 1}.conv1, .bn1;  second and third alike
    stage{s}_{b}/shortcut       layer{s - 1}.{b - 1}.downsample.0, .downsample.1
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reseg_jax.backbones.resnet import ResNet
from reseg_jax.errors import UserError
from reseg_jax.files import safetensors_files, torch_files
from reseg_jax.files.atomic import file_size

SUFFIXES = (".pth", ".pt", ".safetensors")

_LAYERS = {  # ours -> theirs: the convolution, what normalizes it
    "stem": ("conv1", "bn1"),
    "first": ("conv1", "bn1"),
    "second": ("conv2", "bn2"),
    "third": ("conv3", "bn3"),
    "shortcut": ("downsample.0", "downsample.1"),
}
_PARTS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def torchvision_name(name: str) -> str:
    """`stage2_1/second/norm/mean` -> `layer1.0.bn2.running_mean`."""
    *block, layer, kind, part = name.split("/")
    place = ""
    if block:
        stage, index = map(int, block[0].removeprefix("stage").split("_"))
        place = f"layer{stage - 1}.{index - 1}."
    return f"{place}{_LAYERS[layer][kind == 'norm']}.{_PARTS[part]}"


def load_resnet(
    path: str | os.PathLike, backbone: ResNet, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Parameters and running statistics of a ResNet from torchvision's state dict.

    Args:
      path: a .pth or .pt file, read without torch, or a .safetensors file of the same names.
      backbone: the network.
      shapes: {name: shape} of what is read: `stage2_1/first/conv/kernel`: [h, w, C, D], ...

    Returns:
      {name: array}, NumPy float32, of these shapes.

    Raises:
      UserError: the file is missing, damaged or of another kind, or the network in it is another.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path} is in no format of a ResNet's weights: give one of {', '.join(SUFFIXES)}"
        )
    file_size(path)  # which says what is wrong with a file that cannot be opened
    # A deeper network has blocks that are read as well only to be noticed.
    deeper = {
        f"{stage}_{count + 1}/third/norm/bias": (backbone.tap(stage).channels,)
        for stage, count in backbone.blocks.items()
    }
    sizes = {
        torchvision_name(name): int(np.prod(shape)) for name, shape in {**shapes, **deeper}.items()
    }
    if path.suffix.lower() == ".safetensors":
        tensors = safetensors_files.read_safetensors(path, sizes)
    else:
        tensors = torch_files.read_torch(path, sizes)
    if more := tensors.keys() & set(map(torchvision_name, deeper)):
        raise _another(path, backbone, f"has {min(more)}")
    return {
        name: _checked(path, backbone, tensors, torchvision_name(name), shape)
        for name, shape in shapes.items()
    }


def _checked(path, backbone, tensors, key, shape):
    if key not in tensors:
        raise _another(path, backbone, f"has no {key}")
    array = tensors[key]
    array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array  # [D, C, h, w]
    if array.shape != shape:
        raise _another(path, backbone, f"has {key} of shape {array.shape}, and not {shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf
        values = np.array(array, np.float32, order="C")
    if array.dtype.kind != "f" or not np.isfinite(values).all():
        raise UserError(
            f"{path} has numbers in {key} that are not finite floats: "
            "get the file again from its source"
        )
    return values


def _another(path, backbone, what):
    return UserError(
        f"{path} {what}: give torchvision's weights of a ResNet-{backbone.depth}, or set "
        "backbone.depth to that of the file"
    )
