"""ImageNet VGG-16 from the files that people have, as our parameter tree.

Each format brings the preprocessing its network was trained with, which the config records:
weights that see other pixels than they were trained on are worth little.
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from reseg_jax.config import CHOICES, VGG_LAYERS, ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.files import pickles, torch_files
from reseg_jax.files.download import cache_dir, download

Tree = dict[str, dict[str, np.ndarray]]


class Source(NamedTuple):
    """A public file of weights."""

    url: str
    size: int | None = None  # bytes
    md5: str | None = None
    sha256: str | None = None


# The layers without the classifier, a tenth of torchvision's file, converted from the authors'
# Caffe model, which is what the paper used. Keras publishes an MD5 of it and no other digest
# (keras/applications/vgg16.py). Licence of the VGG models of Oxford's Visual Geometry Group:
# Creative Commons Attribution 4.0.
KERAS = Source(
    url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    size=58_889_256,
    md5="6d6bbae143d832006294945121d1f1fc",
)

# torchvision's own training, IMAGENET1K_V1; the file's name has the first digits of its SHA-256.
# Most of its half gigabyte is the classifier. Licence: BSD 3-Clause, torchvision's.
TORCHVISION = Source(
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af",
)
SOURCES = {"caffe": KERAS, "torchvision": TORCHVISION}
"""What is downloaded for a network whose VGG wants that preprocessing."""

# Where torchvision's `vgg16().features` has the convolutions: every one has a ReLU behind it, and
# every block a pooling.
_TORCHVISION = dict(zip(VGG_LAYERS, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), strict=True))


def use_vgg_weights(
    config: ReSegConfig,
    variables: dict,
    path: str | os.PathLike | None = None,
    source: Source = KERAS,
) -> tuple[ReSegConfig, dict]:
    """`variables` with the VGG weights of a file, `config` with the preprocessing they want.

    The layers up to `config.vgg_layer` go to the frozen variables, or to the parameters with
    `config.finetune_vgg`. Without `path` the file of `source` is downloaded once, to the cache.
    A UserError where the file, or a layer in it, is missing or wrong.
    """
    if not config.vgg_layer:
        if path is None:
            return config, variables
        raise UserError("--vgg_weights is given but the network has no VGG: set vgg_layer, or not")
    path = Path(path) if path is not None else _fetch(source)
    tree, preprocessing = load_vgg(path)
    names = list(VGG_LAYERS)
    needed = names[: names.index(config.vgg_layer) + 1]
    if missing := [name for name in needed if name not in tree]:
        raise UserError(
            f"{path} has no {', '.join(missing)}, which vgg_layer={config.vgg_layer} needs: "
            "give a file that has, or an earlier vgg_layer"
        )
    vgg = {
        name: {part: jnp.asarray(array) for part, array in tree[name].items()} for name in needed
    }
    home = "params" if config.finetune_vgg else "frozen"
    variables = variables | {home: variables.get(home, {}) | {"vgg": vgg}}
    return dataclasses.replace(config, preprocessing=preprocessing), variables


def _fetch(source):
    return download(
        source.url,
        cache_dir() / "vgg16" / source.url.rpartition("/")[2],
        source.sha256,
        source.md5,
        source.size,
        what="the VGG-16 weights",
        advice="fetch that file where there is a network, or take VGG-16 in another format "
        f"({', '.join(_READERS)}), and give it with --vgg_weights=PATH",
    )


def load_vgg(path: str | os.PathLike) -> tuple[Tree, str]:
    """(tree, preprocessing) of a file of VGG-16 weights, told apart by its suffix.

    .npz          conv1_1/kernel, conv1_1/bias, ... as in the tree; `preprocessing`, a string, or
                  else "torchvision"
    .pth, .pt     torchvision's state dict, read without torch; "torchvision"
    .safetensors  the same tensors under the same names; "torchvision"
    .h5           Keras, with or without the classifier; "caffe"
    .pkl          vgg16.pkl of the Lasagne model zoo; "caffe"

    tree: {"conv1_1": {"kernel": [3, 3, Cin, Cout], "bias": [Cout]}, ...}, NumPy float32, with
    those layers of VGG-16 that the file has. A UserError where the file is missing, damaged or
    of another kind, or where a layer has another shape or numbers that are not finite.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise UserError(f"{path} is of no known format: give one of {', '.join(_READERS)}")
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check --vgg_weights") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if empty:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    tree, preprocessing = _READERS[path.suffix.lower()](path)
    if not tree:
        raise UserError(f"{path} has none of the layers of VGG-16: give a file of VGG-16 weights")
    return {name: _check(path, name, layer) for name, layer in tree.items()}, preprocessing


def _check(path, name, layer):
    names = list(VGG_LAYERS)
    before = names.index(name) - 1
    inputs = VGG_LAYERS[names[before]][0] if before >= 0 else 3
    outputs = VGG_LAYERS[name][0]
    checked = {}
    for part, shape in (("kernel", (3, 3, inputs, outputs)), ("bias", (outputs,))):
        if part not in layer:
            raise UserError(f"{path} has {name} without its {part}: give a complete file")
        array = np.asarray(layer[part])
        if array.shape != shape:
            raise UserError(
                f"{path} has {name}/{part} of shape {array.shape}, height and width first, where "
                f"VGG-16 has {shape}: give weights of VGG-16 without batch normalisation"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, refused below
            checked[part] = np.array(array, np.float32, order="C")
        if array.dtype.kind != "f" or not np.isfinite(checked[part]).all():
            raise UserError(
                f"{path} has numbers in {name}/{part} that are not finite floats: "
                "get the file again from its source"
            )
    return checked


def _damaged(path, error):
    reason = " ".join(str(error).split())  # some messages have several lines
    return UserError(f"{path} is damaged or cut short ({reason}): copy or download it again")


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            tree = {}
            for key in file.files:
                name, _, part = key.partition("/")
                if name in VGG_LAYERS:
                    tree.setdefault(name, {})[part] = file[key]
            preprocessing = str(file["preprocessing"]) if "preprocessing" in file else "torchvision"
    except Exception as error:  # zipfile and NumPy raise a dozen kinds
        raise _damaged(path, error) from error
    if preprocessing not in CHOICES["preprocessing"]:
        known = ", ".join(CHOICES["preprocessing"])
        raise UserError(f"{path} names preprocessing {preprocessing!r}; known are: {known}")
    return tree, preprocessing


def _from_torchvision(tensors):
    """The tree of {features.N.weight: [out, in, height, width], features.N.bias: [out]}."""
    tree = {}
    for name, index in _TORCHVISION.items():
        for part, key in (("kernel", "weight"), ("bias", "bias")):
            if (tensor := tensors.get(f"features.{index}.{key}")) is not None:
                tree.setdefault(name, {})[part] = _to_hwio(tensor)
    return tree, "torchvision"


def _to_hwio(array):
    """[out, in, height, width] -> [height, width, in, out]; a bias stays as it is."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def _read_torch(path):
    return _from_torchvision(torch_files.read_torch(path, prefix="features."))


def _read_safetensors(path):
    try:
        import safetensors
    except ImportError:
        raise UserError(f"{path} needs a package: pip install safetensors") from None
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            keys = [key for key in file.keys() if key.startswith("features.")]  # noqa: SIM118
            tensors = {key: file.get_tensor(key) for key in keys}
    except (safetensors.SafetensorError, OSError, TypeError) as error:  # TypeError: no such dtype
        raise _damaged(path, error) from error
    return _from_torchvision(tensors)


def _read_keras(path):
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path} needs a package: pip install h5py") from None
    tree = {}

    def visit(name, item):
        # Keras 1 has block1_conv1/block1_conv1_W_1:0, Keras 2 block1_conv1/block1_conv1/kernel:0.
        if isinstance(item, h5py.Dataset) and (found := re.search(r"block(\d)_conv(\d)/", name)):
            layer = tree.setdefault("conv{}_{}".format(*found.groups()), {})
            layer["kernel" if item.ndim == 4 else "bias"] = item[()]

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(visit)  # a whole model has more beside
    except Exception as error:  # HDF5 raises many kinds
        raise _damaged(path, error) from error
    return {name: layer for name, layer in tree.items() if name in VGG_LAYERS}, "caffe"


def _read_lasagne(path):
    content = pickles.read_arrays(path)
    arrays = content.get("param values") if isinstance(content, dict) else None
    if not isinstance(arrays, list) or not all(isinstance(a, np.ndarray) for a in arrays):
        raise UserError(f"{path} has no list of 'param values': give vgg16.pkl of Lasagne")
    # Kernel and bias in turn, the convolutions first. Lasagne used them unflipped, as Caffe does.
    pairs = zip(VGG_LAYERS, arrays[::2], arrays[1::2], strict=False)
    return {n: {"kernel": _to_hwio(kernel), "bias": bias} for n, kernel, bias in pairs}, "caffe"


_READERS = {
    ".npz": _read_npz,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".safetensors": _read_safetensors,
    ".h5": _read_keras,
    ".pkl": _read_lasagne,
}
