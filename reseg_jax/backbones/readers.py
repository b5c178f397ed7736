"""VGG-16 from the files that people have, as our parameter tree.

A fully connected layer of the classifier is read as the convolution that gives the same numbers
(`backbones.vgg`): its matrix, [49 * 512, 4096] for fc6, is a 7x7 kernel over the 512 channels of
pool5, flattened in the order in which its library flattens a map.

Dimension key: `h w` kernel, `C` input channels, `D` output channels.
"""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from reseg_jax.backbones.preprocessing import PREPROCESSINGS
from reseg_jax.backbones.vgg_layers import VGG_LAYERS
from reseg_jax.errors import UserError, check_choice
from reseg_jax.files import safetensors_files, torch_files
from reseg_jax.files.atomic import damaged, file_size
from reseg_jax.files.hdf5_files import open_hdf5
from reseg_jax.files.npz import open_npz

Tree = dict[str, dict[str, np.ndarray]]
PARTS = ("kernel", "bias")

_LONGEST_NAME = 100  # characters of a preprocessing's name: "torchvision" has 11


def _kernel_shapes():
    inputs = 3
    for name, (channels, _) in VGG_LAYERS.items():
        yield name, (3, 3, inputs, channels)
        inputs = channels
    yield "fc6", (7, 7, inputs, 4096)
    yield "fc7", (1, 1, 4096, 4096)


KERNEL_SHAPES = dict(_kernel_shapes())
"""[h, w, C, D] of each layer that is read: Simonyan and Zisserman 2015, table 1, column D."""

# torchvision's names (torchvision/models/vgg.py): in `features` every convolution has a ReLU after
# it, and every block a pooling; in `classifier` ReLU and dropout follow a layer.
_FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_TORCHVISION = {name: f"features.{n}" for name, n in zip(VGG_LAYERS, _FEATURES, strict=True)}
_TORCHVISION |= {"fc6": "classifier.0", "fc7": "classifier.3"}


def load_vgg(path: str | os.PathLike, layers: Iterable[str] | None = None) -> tuple[Tree, str]:
    """The layers of a file of VGG-16 weights, whose suffix says what it is.

      .npz          conv1_1/kernel, conv1_1/bias, ..., fc6/kernel as in the tree; `preprocessing`,
                    a string, or else "torchvision"
      .pth, .pt     torchvision's state dict, read without torch; "torchvision"
      .safetensors  the same tensors under the same names; "torchvision"
      .h5           Keras, with or without the classifier; "caffe"

    Args:
      path: the file.
      layers: which to read, of `KERNEL_SHAPES`; None for all.

    Returns:
      (tree, preprocessing). The tree is {"conv1_1": {"kernel": [h, w, C, D], "bias": [D]}, ...},
      NumPy float32, with those of `layers` that the file has; the second says how the images were
      preprocessed that the network was trained on.

    Raises:
      UserError: the file is missing, damaged or of another kind, it has none of the layers, or one
        with another shape or numbers that are not finite.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"the weights are a {type(path).__name__}: give the path of a file")
    path = Path(path)
    layers = tuple(KERNEL_SHAPES if layers is None else layers)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise UserError(f"{path} has no known format: give one of {', '.join(SUFFIXES)}")
    file_size(path)  # which says what is wrong with a file that cannot be opened
    tree, preprocessing = _READERS[suffix](path, layers)
    if not tree:
        raise UserError(f"{path} has none of the layers of VGG-16: give a file of VGG-16 weights")
    return {name: _check(path, name, tree[name]) for name in layers if name in tree}, preprocessing


def _shape(name, part):
    return KERNEL_SHAPES[name] if part == "kernel" else KERNEL_SHAPES[name][-1:]


def _read(path, name, part, entry):
    """The numbers of `entry`, not read yet, if they are floats and no more than the layer has."""
    if math.prod(entry.shape) > math.prod(_shape(name, part)):
        raise _another_shape(path, name, part, entry.shape)
    if entry.dtype.kind != "f":
        raise _no_floats(path, name, part)
    return entry.read()


def _another_shape(path, name, part, shape):
    return UserError(
        f"{path} has {name}/{part} of shape {tuple(shape)}, height and width first, but VGG-16 "
        f"has {_shape(name, part)}: give weights of VGG-16 without batch normalization"
    )


def _no_floats(path, name, part):
    return UserError(
        f"{path} has numbers in {name}/{part} that are not finite floats: "
        "get the file again from its source"
    )


def _check(path, name, layer):
    checked = {}
    for part in PARTS:
        if part not in layer:
            raise UserError(f"{path} has {name} without its {part}: give a complete file")
        array = np.asarray(layer[part])
        if array.shape != _shape(name, part):
            raise _another_shape(path, name, part, array.shape)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, refused below
            checked[part] = np.array(array, np.float32, order="C")
        if array.dtype.kind != "f" or not np.isfinite(checked[part]).all():
            raise _no_floats(path, name, part)
    return checked


def _read_npz(path, layers):
    tree = {}
    try:
        with open_npz(path) as entries:
            for key, entry in entries.items():
                name, _, part = key.partition("/")
                if name in layers and part in PARTS:
                    tree.setdefault(name, {})[part] = _read(path, name, part, entry)
            preprocessing = "torchvision"
            if "preprocessing" in entries:
                preprocessing = entries["preprocessing"].text(_LONGEST_NAME)
    except UserError:
        raise
    except Exception as error:  # zipfile and NumPy raise a dozen kinds
        raise damaged(path, error) from error
    check_choice(f"{path}: preprocessing", preprocessing, PREPROCESSINGS)
    return tree, preprocessing


def _torchvision_keys(layers: Sequence[str]) -> dict[str, tuple[str, str]]:
    """{key of a state dict: (layer, "kernel" or "bias")}."""
    return {
        f"{_TORCHVISION[name]}.{suffix}": (name, part)
        for name in layers
        for part, suffix in zip(PARTS, ("weight", "bias"), strict=True)
    }


def _from_torchvision(tensors, layers):
    """The tree of {key: tensor}, the layout of `torch.nn.Conv2d` and `torch.nn.Linear`."""
    tree = {}
    for key, (name, part) in _torchvision_keys(layers).items():
        if key in tensors:
            tree.setdefault(name, {})[part] = _from_torch(tensors[key], KERNEL_SHAPES[name][:2])
    return tree, "torchvision"


def _from_torch(array, window):
    """[D, C, h, w], or [D, C h w] with channels slowest, -> [h, w, C, D]; a bias as it is."""
    if array.ndim == 2 and array.shape[1] % np.prod(window) == 0:
        array = array.reshape(len(array), -1, *window)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _read_torch(path, layers):
    keys = _torchvision_keys(layers)
    sizes = {key: math.prod(_shape(name, part)) for key, (name, part) in keys.items()}
    return _from_torchvision(torch_files.read_torch(path, sizes), layers)


def _read_safetensors(path, layers):
    tensors = safetensors_files.read_safetensors(path, _torchvision_keys(layers))
    return _from_torchvision(tensors, layers)


# Keras 1 has block1_conv1/block1_conv1_W_1:0, Keras 2 block1_conv1/block1_conv1/kernel:0, and both
# call the classifier's layers fc1 and fc2 (keras/applications/vgg16.py).
_KERAS_LAYER = re.compile(r"(?:^|/)(?:block(\d)_conv(\d)|fc([12]))/")


def _read_keras(path, layers):
    tree = {}
    try:
        with open_hdf5(path, "model_weights") as entries:  # a whole model has more beside
            for key, entry in entries.items():
                if not (found := _KERAS_LAYER.search(key)):
                    continue
                block, index, connected = found.groups()
                name = f"fc{int(connected) + 5}" if connected else f"conv{block}_{index}"
                if name in layers:
                    part = "bias" if len(entry.shape) == 1 else "kernel"
                    array = _from_keras(_read(path, name, part, entry), KERNEL_SHAPES[name][:2])
                    tree.setdefault(name, {})[part] = array
    except UserError:
        raise
    except Exception as error:  # HDF5 raises many kinds
        raise damaged(path, error) from error
    return tree, "caffe"


def _from_keras(array, window):
    """[h w C, D] with channels fastest -> [h, w, C, D]; others are as they should be."""
    if array.ndim == 2 and array.shape[0] % np.prod(window) == 0:
        return array.reshape(*window, -1, array.shape[1])
    return array


_READERS = {
    ".npz": _read_npz,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".safetensors": _read_safetensors,
    ".h5": _read_keras,
}
SUFFIXES = tuple(_READERS)
"""Of the files that `load_vgg` reads."""
