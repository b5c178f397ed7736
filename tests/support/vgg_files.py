"""VGG-16's weights as each kind of file that people have, from a tree in our layout."""

import re

import h5py
import numpy as np
import safetensors.numpy

SUFFIXES = (".npz", ".pth", ".pt", ".safetensors", ".h5")

_CONVOLUTIONS = [
    f"conv{block}_{index}"
    for block, count in enumerate((2, 2, 3, 3, 3), start=1)  # Simonyan and Zisserman 2015, column D
    for index in range(1, count + 1)
]
SMALL = {name: (3, 3, 3 if name == "conv1_1" else 2, 2) for name in _CONVOLUTIONS}
SMALL |= {"fc6": (7, 7, 2, 4), "fc7": (1, 1, 4, 4)}
"""Kernels of all layers of a VGG-16 with two channels, and four after the convolutions."""

# Printed by torchvision.models.vgg16().
_TORCHVISION = {"conv1_1": "features.0", "conv1_2": "features.2"}
_TORCHVISION |= {"fc6": "classifier.0", "fc7": "classifier.3"}
_KERAS = {"fc6": "fc1", "fc7": "fc2"}


def random_layers(*names, shapes=SMALL):
    """These layers with random numbers, in our layout."""
    rng = np.random.default_rng(0)
    return {
        name: {
            "kernel": rng.standard_normal(shapes[name]).astype("f4"),
            "bias": rng.standard_normal(shapes[name][-1:]).astype("f4"),
        }
        for name in names
    }


def torchvision_names(tree):
    """Kernels in torch's layout: output first, and a matrix for a fully connected layer."""
    tensors = {}
    for name, layer in tree.items():
        weight = np.ascontiguousarray(np.einsum("hwio->oihw", layer["kernel"]))
        weight = weight.reshape(len(weight), -1) if name.startswith("fc") else weight
        tensors[f"{_TORCHVISION[name]}.weight"] = weight
        tensors[f"{_TORCHVISION[name]}.bias"] = layer["bias"]
    return tensors


def keras_layers(tree):
    """(name, kernel, bias) as Keras has them: input first, a matrix if fully connected."""
    for name, layer in tree.items():
        kernel = layer["kernel"]
        kernel = kernel.reshape(-1, kernel.shape[-1]) if name in _KERAS else kernel
        yield _KERAS.get(name) or re.sub(r"conv(\d)_", r"block\1_conv", name), kernel, layer["bias"]


def write_npz(path, tree, **more):
    flat = {f"{name}/{part}": a for name, layer in tree.items() for part, a in layer.items()}
    np.savez(path, **flat, **more)


def write_safetensors(path, tree):
    safetensors.numpy.save_file(
        torchvision_names(tree) | {"classifier.6.bias": np.zeros(2, "f4")}, path
    )


def write_keras_1(path, tree):
    with h5py.File(path, "w") as file:
        for name, kernel, bias in keras_layers(tree):
            file[f"{name}/{name}_W_1:0"] = kernel
            file[f"{name}/{name}_b_1:0"] = bias
        file.create_group("block1_pool")


def write_keras_2(path, tree):
    with h5py.File(path, "w") as file:
        for name, kernel, bias in keras_layers(tree):
            file[f"{name}/{name}/kernel:0"] = kernel
            file[f"{name}/{name}/bias:0"] = bias
        file["predictions/predictions/bias:0"] = np.zeros(2, "f4")


def write_keras_model(path, tree):
    with h5py.File(path, "w") as file:
        for name, kernel, bias in keras_layers(tree):
            file[f"model_weights/{name}/{name}/kernel:0"] = kernel
            file[f"model_weights/{name}/{name}/bias:0"] = bias
            file[f"optimizer_weights/{name}/{name}/kernel/m:0"] = 0 * kernel


FORMATS = {
    "npz": (write_npz, ".npz", "torchvision"),
    "safetensors": (write_safetensors, ".safetensors", "torchvision"),
    "keras 1": (write_keras_1, ".h5", "caffe"),
    "keras 2": (write_keras_2, ".h5", "caffe"),
    "keras model": (write_keras_model, ".H5", "caffe"),
}
