"""VGG-16's weights as each kind of file that people have, from a tree in our layout."""

import pickle

import h5py
import numpy as np
import safetensors.numpy

SUFFIXES = (".npz", ".pth", ".pt", ".safetensors", ".h5", ".pkl")


def random_layers():
    """conv1_1 and conv1_2 with random numbers, in our layout."""
    rng = np.random.default_rng(0)
    shapes = {"conv1_1": (3, 3, 3, 64), "conv1_2": (3, 3, 64, 64)}
    return {
        name: {
            "kernel": rng.standard_normal(shape).astype("f4"),
            "bias": rng.standard_normal(64).astype("f4"),
        }
        for name, shape in shapes.items()
    }


def oihw(kernel):
    """The kernel in the layout of torch and Lasagne, element by element axis order."""
    return np.ascontiguousarray(np.einsum("hwio->oihw", kernel))


def torchvision_names(tree):
    numbers = {"conv1_1": 0, "conv1_2": 2}  # printed by torchvision.models.vgg16().features
    return {
        f"features.{numbers[name]}.{key}": array
        for name, layer in tree.items()
        for key, array in (("weight", oihw(layer["kernel"])), ("bias", layer["bias"]))
    }


def write_npz(path, tree, **more):
    flat = {f"{name}/{part}": a for name, layer in tree.items() for part, a in layer.items()}
    np.savez(path, **flat, **more)


def write_safetensors(path, tree):
    safetensors.numpy.save_file(
        torchvision_names(tree) | {"classifier.0.bias": np.zeros(2, "f4")}, path
    )


def write_keras_1(path, tree):
    with h5py.File(path, "w") as file:
        for name, layer in tree.items():
            group = f"block{name[4]}_conv{name[6]}"
            file[f"{group}/{group}_W_1:0"] = layer["kernel"]
            file[f"{group}/{group}_b_1:0"] = layer["bias"]
        file.create_group("block1_pool")


def write_keras_2(path, tree):
    with h5py.File(path, "w") as file:
        for name, layer in tree.items():
            group = f"block{name[4]}_conv{name[6]}"
            file[f"{group}/{group}/kernel:0"] = layer["kernel"]
            file[f"{group}/{group}/bias:0"] = layer["bias"]


def write_keras_model(path, tree):
    with h5py.File(path, "w") as file:
        for name, layer in tree.items():
            group = f"block{name[4]}_conv{name[6]}"
            file[f"model_weights/{group}/{group}/kernel:0"] = layer["kernel"]
            file[f"model_weights/{group}/{group}/bias:0"] = layer["bias"]
            file[f"optimizer_weights/{group}/{group}/kernel/m:0"] = 0 * layer["kernel"]


def write_lasagne(path, tree):
    arrays = [a for layer in tree.values() for a in (oihw(layer["kernel"]), layer["bias"])]
    content = {"param values": arrays, "mean value": np.zeros(3), "synset words": ["tench"]}
    path.write_bytes(pickle.dumps(content, 2))


FORMATS = {
    "npz": (write_npz, ".npz", "torchvision"),
    "safetensors": (write_safetensors, ".safetensors", "torchvision"),
    "keras 1": (write_keras_1, ".h5", "caffe"),
    "keras 2": (write_keras_2, ".h5", "caffe"),
    "keras model": (write_keras_model, ".H5", "caffe"),
    "lasagne": (write_lasagne, ".pkl", "caffe"),
}
