"""Tensors of a `torch.save(model.state_dict(), path)`: needs no torch, runs no foreign code.

Both formats of `torch.save` are known: the zip archive (torch 1.6 and later) and the legacy one
(torchvision's VGG-16).
"""

import collections
import os
import pickle
import zipfile
from collections.abc import Container
from typing import NamedTuple

import numpy as np

from reseg_jax.errors import UserError
from reseg_jax.files.atomic import damaged
from reseg_jax.files.pickles import RestrictedUnpickler

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # opens a legacy file (torch/serialization.py)
_PROTOCOL_VERSION = 1001  # follows it
_STORAGES = {  # torch's storage class (torch/storage.py) -> NumPy's type, without the byte order
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Storage(NamedTuple):
    """A run of numbers kept beside the pickle; `first` is where a view into it begins."""

    dtype: str
    key: str
    first: int


class _Tensor(NamedTuple):
    """Strided numbers of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_gradient_and_hooks):
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor, *_gradient_and_hooks):
    return tensor


_TORCH_NAMES = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
} | {("torch", name): dtype for name, dtype in _STORAGES.items()}


class _TorchUnpickler(RestrictedUnpickler):
    def __init__(self, file, path):
        super().__init__(file, path, _TORCH_NAMES, encoding="utf-8")
        self.dtypes = {}  # of the storages met, by key

    def persistent_load(self, pid):
        # ("storage", class, key, device, number of elements[, view: key, offset, size])
        kind, dtype, key, _device, _count, *view = pid
        if kind != "storage" or dtype not in _STORAGES.values():
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        self.dtypes[key] = dtype
        return _Storage(dtype, key, view[0][1] if view and view[0] else 0)


def read_torch(
    path: str | os.PathLike, names: Container[str] | None = None
) -> dict[str, np.ndarray]:
    """The tensors of a torch state dict.

    Args:
      path: the file.
      names: of the tensors to read, None for all.

    Returns:
      {name: array}, those that the file has, in torch's axis order: read-only views of the
      storages. Of a legacy file only the numbers that are used are read from the disk.

    Raises:
      UserError: the file is damaged, is no state dict, or asks for anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
        state, storages, order = _open_zip(path) if is_zip else _open_legacy(path)
        if not isinstance(state, dict):
            raise UserError(f"{path} holds a {type(state).__name__} and not a state dict: save one")
        return {
            name: _tensor_to_array(tensor, storages(tensor.storage), order)
            for name, tensor in state.items()
            if isinstance(tensor, _Tensor) and (names is None or name in names)
        }
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise just about anything
        raise damaged(path, error) from error


def _tensor_to_array(tensor, storage, order):
    dtype = np.dtype(tensor.storage.dtype).newbyteorder(order)
    return np.ndarray(  # which checks that shape, offset and strides stay within the storage
        tensor.shape,
        dtype,
        storage,
        dtype.itemsize * (tensor.storage.first + tensor.offset),
        tuple(dtype.itemsize * stride for stride in tensor.strides),
    )


def _open_zip(path):
    """(pickled object, function storage -> its bytes, byte order) of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (root,) = (name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl"))
        with archive.open(root + "data.pkl") as file:
            state = _TorchUnpickler(file, path).load()
        big = root + "byteorder" in names and archive.read(root + "byteorder") == b"big"

    def read_storage(storage):
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{root}data/{storage.key}")

    return state, read_storage, ">" if big else "<"


def _open_legacy(path):
    """The same of a legacy file: five pickles, then each storage's length and numbers."""
    with open(path, "rb") as file:
        if _TorchUnpickler(file, path).load() != _MAGIC_NUMBER:
            raise pickle.UnpicklingError("it does not begin as torch.save begins a file")
        if (version := _TorchUnpickler(file, path).load()) != _PROTOCOL_VERSION:
            raise pickle.UnpicklingError(f"protocol {version} is unknown")
        little = _TorchUnpickler(file, path).load().get("little_endian", True)
        unpickler = _TorchUnpickler(file, path)
        state = unpickler.load()
        keys = _TorchUnpickler(file, path).load()
        start = file.tell()
    order = "<" if little else ">"
    content = np.memmap(path, np.uint8, "r")
    storages = {}
    for key in keys:
        count = int(content[start : start + 8].view(f"{order}i8")[0])
        end = start + 8 + count * np.dtype(unpickler.dtypes[key]).itemsize
        if not start + 8 <= end <= len(content):
            raise EOFError(f"the file ends within tensor storage {key}")
        storages[key] = content[start + 8 : end]
        start = end
    return state, lambda storage: storages[storage.key], order
