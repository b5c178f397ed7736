"""Readers of weights: other libraries' files, and networks that were saved."""

import io
import json
import pickle
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from experiments.faults import hdf5, materials, mutations
from experiments.faults.materials import Materials
from experiments.faults.reader import Reader, put
from reseg_jax import api, saving
from reseg_jax.backbones import readers as backbones
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.resnet_reader import load_resnet
from reseg_jax.networks.reseg import ReSegConfig


def of(files: Materials) -> list[Reader]:
    """One of each kind."""
    return [*_weights(files), *_resnet(), _saved()]


def _weights(files):
    arrays = materials.first_layer()
    kernel, bias = arrays["conv1_1/kernel"], arrays["conv1_1/bias"]
    tensors = {"features.0.weight": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))}
    tensors["features.0.bias"] = bias
    with tempfile.TemporaryDirectory() as folder:
        hdf5.write(Path(folder, "vgg.h5"))
        keras = Path(folder, "vgg.h5").read_bytes()
    contents = {
        "npz": (files.weights.read_bytes(), mutations.inside_zip),
        "pth": (torch_zip(tensors), mutations.inside_zip),
        "pt": (torch_legacy(tensors), _head_first),
        "safetensors": (_safetensors(tensors), _head_first),
        "h5": (keras, _head_first),
    }
    for suffix, (content, mutation) in contents.items():
        yield Reader(f"weights .{suffix}", [content], mutation, _reading_weights(suffix))


def _reading_weights(suffix):
    def read(content, folder):
        tree, _ = backbones.load_vgg(put(folder / f"vgg.{suffix}", content), ("conv1_1",))
        return all(
            part.dtype == np.float32 and np.isfinite(part).all()
            for part in tree["conv1_1"].values()
        )

    return read


def _resnet():
    """The stem of a ResNet of one channel."""
    backbone = ResNet(depth=14, width=1)
    norm = {f"stem/norm/{part}": (1,) for part in ("scale", "bias", "mean", "var")}
    shapes = {"stem/conv/kernel": (7, 7, 3, 1), **norm}
    parts = ("weight", "bias", "running_mean", "running_var")
    tensors = {f"bn1.{part}": np.ones(1, np.float32) for part in parts}
    tensors["conv1.weight"] = np.linspace(0, 1, 147, dtype=np.float32).reshape(1, 3, 7, 7)

    def reading(suffix):
        def read(content, folder):
            found = load_resnet(put(folder / f"resnet.{suffix}", content), backbone, shapes)
            return all(
                part.dtype == np.float32 and np.isfinite(part).all() for part in found.values()
            )

        return read

    contents = {
        "pth": (torch_zip(tensors), mutations.inside_zip),
        "safetensors": (_safetensors(tensors), _head_first),
    }
    for suffix, (content, mutation) in contents.items():
        yield Reader(f"ResNet .{suffix}", [content], mutation, reading(suffix))


def _head_first(rng, content):
    """Changes of the first kilobytes, where the structure is, or of any."""
    if rng.random() < 0.3:
        return mutations.mutate(rng, content)
    return mutations.mutate(rng, content[:2048]) + content[2048:]


def _safetensors(tensors):
    """Length of the header, header, numbers (huggingface.co/docs/safetensors, "Format")."""
    header, numbers = {}, b""
    for name, array in tensors.items():
        place = [len(numbers), len(numbers) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": place}
        numbers += array.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def torch_zip(tensors: dict[str, np.ndarray]) -> bytes:
    """What `torch.save` writes since version 1.6."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", _state(tensors))
        for number, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{number}", array.tobytes())
    return stream.getvalue()


def torch_legacy(tensors: dict[str, np.ndarray]) -> bytes:
    """What it wrote before: five pickles, then each storage's length and numbers."""
    keys = [str(number) for number in range(len(tensors))]
    heads = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [pickle.dumps(head, 2) for head in heads] + [_state(tensors), pickle.dumps(keys, 2)]
    for array in tensors.values():
        parts += [np.int64(array.size).tobytes(), array.tobytes()]
    return b"".join(parts)


def _state(tensors):
    """The pickle of a state dict, in its text protocol."""
    parts = [b"("]
    for number, (name, array) in enumerate(tensors.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        parts.append(
            b"V%s\nctorch._utils\n_rebuild_tensor_v2\n" % name.encode()
            + b"((Vstorage\nctorch\nFloatStorage\nV%d\nVcpu\nI%d\ntQI0\n" % (number, array.size)
            + _numbers(array.shape) + _numbers(strides) + b"I00\ntR"
        )  # fmt: skip
    return b"".join(parts) + b"d."


def _numbers(values):
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def _saved():
    """Networks as `reseg_jax.save` writes them."""
    config = ReSegConfig.no_vgg(
        **{"num_classes": 2, "patch_sizes": ((2, 2),), "units": (2,), "upsample_sizes": ((2, 2),)},
        upsample_channels=(2,),
    )

    @_once
    def seed():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "head.npz")
            saving.save(path, config, api.init(config, jax.random.key(0)))
            return path.read_bytes()

    def read(content, folder):
        saved = saving.read(put(folder / "head.npz", content))
        return all(np.asarray(leaf).dtype.kind == "f" for leaf in jax.tree.leaves(saved.variables))

    return Reader("saved network", _Late(seed), mutations.inside_zip, read)


def _once(make):
    found = []

    def value():
        if not found:
            found.append(make())
        return found[0]

    return value


class _Late(Sequence):
    """One seed that is made when it is used: the parent of all children may not use JAX."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return (self.make(),)[index]
