"""Tensors of a `torch.save(model.state_dict(), path)`: needs no torch, runs no foreign code.

Both formats of `torch.save` are known: the zip archive (torch 1.6 and later) and the legacy one
(torchvision's VGG-16).
"""

import contextlib
import functools
import io
import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from reseg_jax.errors import UserError
from reseg_jax.files import pickles
from reseg_jax.files.atomic import damaged
from reseg_jax.files.zips import Unpacker

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
    count: int
    first: int

    @property
    def size(self):
        """Bytes of all its numbers."""
        return self.count * np.dtype(self.dtype).itemsize


class _Tensor(NamedTuple):
    """Strided numbers of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_gradient_and_hooks):
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    _check_counts(offset, *shape, *strides)
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor, *_gradient_and_hooks):
    return tensor


def _ordered_dict():
    return {}


_TORCH_NAMES = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
} | {("torch", name): dtype for name, dtype in _STORAGES.items()}


def _check_counts(*numbers):
    """Refuses what is no number of elements; the largest that NumPy can count has 63 bits."""
    if not all(type(number) is int and abs(number) < 1 << 63 for number in numbers):
        raise ValueError("a shape or position that is no whole number")


def _storage(pid):
    """("storage", class, key, device, number of elements[, view: key, offset, size])."""
    kind, dtype, key, _device, count, *view = pid
    first = view[0][1] if view and view[0] else 0
    if kind != "storage" or not (isinstance(dtype, str) and isinstance(key, str)):
        raise ValueError("a persistent id that is no storage")
    if dtype not in _STORAGES.values():
        raise ValueError("a storage of unknown numbers")
    _check_counts(count, first)
    return _Storage(dtype, key, count, first)


def read_torch(
    path: str | os.PathLike, sizes: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """The tensors of a torch state dict.

    Args:
      path: the file.
      sizes: {name of a tensor to read: the most elements that it may have}; None for all.

    Returns:
      {name: array}, those that the file has, in torch's axis order: read-only views of the
      storages. Of a legacy file only the numbers that are used are read from the disk.

    Raises:
      UserError: the file is damaged, is no state dict, asks for anything but tensors, or has one
        that is larger than `sizes` says: its numbers are not read.
    """
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
        with (_open_zip if is_zip else _open_legacy)(path) as (state, storages, order):
            return {
                name: _tensor_to_array(tensor, storages(tensor.storage), order)
                for name, tensor in _tensors(path, state, sizes).items()
            }
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise just about anything
        raise damaged(path, error) from error


def _tensors(path, state, sizes):
    """{name: tensor} of those that are to be read, none of them too large."""
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__} and not a state dict: save one")
    found = {name: tensor for name, tensor in state.items() if isinstance(tensor, _Tensor)}
    if sizes is None:
        return found
    found = {name: tensor for name, tensor in found.items() if name in sizes}
    for name, tensor in found.items():
        if math.prod(tensor.shape) > sizes[name]:
            raise UserError(
                f"{path} has {name} of shape {tensor.shape}, which is more than {sizes[name]} "
                "numbers: give the weights of the network that is meant"
            )
    return found


def _tensor_to_array(tensor, storage, order):
    dtype = np.dtype(tensor.storage.dtype).newbyteorder(order)
    return np.ndarray(  # which checks that shape, offset and strides stay within the storage
        tensor.shape,
        dtype,
        storage,
        dtype.itemsize * (tensor.storage.first + tensor.offset),
        tuple(dtype.itemsize * stride for stride in tensor.strides),
    )


@contextlib.contextmanager
def _open_zip(path):
    """(pickled object, function storage -> its bytes, byte order) of a zip archive."""
    with Unpacker(path) as archive:
        names = archive.namelist()
        (root,) = (name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl"))
        with archive.open(root + "data.pkl") as file:
            content = io.BytesIO(file.read(pickles.MOST_BYTES))
        state = pickles.load(content, path, _TORCH_NAMES, _storage)
        big = False
        if root + "byteorder" in names:
            with archive.open(root + "byteorder") as file:
                big = file.read(3) == b"big"

        @functools.cache  # tensors may share a storage
        def read(key, size):
            info = archive.getinfo(f"{root}data/{key}")
            if info.file_size != size:
                raise ValueError(f"tensor storage {key} has another size than it states")
            return archive.read(info)

        yield state, lambda storage: read(storage.key, storage.size), ">" if big else "<"


@contextlib.contextmanager
def _open_legacy(path):
    """The same of a legacy file: five pickles, then each storage's length and numbers."""
    with open(path, "rb") as file:
        head = io.BytesIO(file.read(pickles.MOST_BYTES))
    storages = {}

    def storage_of(pid):
        storage = _storage(pid)
        return storages.setdefault(storage.key, storage)._replace(first=storage.first)

    if pickles.load(head, path, _TORCH_NAMES) != _MAGIC_NUMBER:
        raise ValueError("it does not begin as torch.save begins a file")
    if pickles.load(head, path, _TORCH_NAMES) != _PROTOCOL_VERSION:
        raise ValueError("its protocol is unknown")
    little = pickles.load(head, path, _TORCH_NAMES).get("little_endian", True)
    state = pickles.load(head, path, _TORCH_NAMES, storage_of)
    keys = pickles.load(head, path, _TORCH_NAMES)
    order = "<" if little else ">"
    content = np.memmap(path, np.uint8, "r")
    parts, start = {}, head.tell()
    for key in keys:
        count = int(content[start : start + 8].view(f"{order}i8")[0])
        end = start + 8 + storages[key].size
        if count != storages[key].count or end > len(content):
            raise EOFError(f"the file ends within tensor storage {key}")
        parts[key] = content[start + 8 : end]
        start = end
    yield state, lambda storage: parts[storage.key], order
