"""Arrays out of pickled weight files, without running what a pickle asks for.

A pickle is a program: it names functions and calls them. The unpicklers here know a handful of
names and answer them with small functions of this file, which only note down what an array is
made of; every other name ends the reading. NumPy's own functions are not among them, since some
trust their input (`dtype.__setstate__`); arrays are made when the pickle is over.
"""

import collections
import os
import pickle
import zipfile
from typing import NamedTuple

import numpy as np

from reseg_jax.errors import UserError


class _Unpickler(pickle.Unpickler):
    """Knows the names in `known`, {(module, name): what stands for it}, and no others."""

    def __init__(self, file, path, known, **options):
        super().__init__(file, **options)
        self.path, self.known = path, known

    def find_class(self, module, name):
        if (module, name) not in self.known:
            raise UserError(
                f"{self.path} asks for {module}.{name}, which no file of plain weights needs: "
                "refused, get the weights from a source you trust"
            )
        return self.known[module, name]


def _broken(path, error):
    reason = " ".join(str(error).split())  # some messages have several lines
    return UserError(
        f"{path} is damaged or not a weight file of its kind ({type(error).__name__}: {reason}): "
        "copy or download it again"
    )


# ---------------------------------------------------------------------------------------------
# torch: `torch.save(model.state_dict(), path)`
# ---------------------------------------------------------------------------------------------

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # opens a legacy file (torch/serialization.py)
_PROTOCOL_VERSION = 1001  # follows it
_STORAGES = {  # torch's storage class -> NumPy's type, without the byte order
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


class _TorchUnpickler(_Unpickler):
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


def read_torch(path: str | os.PathLike, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a torch state dict by name, those that begin with `prefix`, without torch.

    Both formats of `torch.save` are known: the zip archive (torch 1.6 and later) and the legacy
    one (torchvision's VGG-16). Arrays are read-only views of the storages, in torch's axis order;
    of a legacy file only what is looked at is read from the disk. A UserError where the file is
    damaged, is no state dict, or asks for anything but tensors.
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
            if isinstance(tensor, _Tensor) and name.startswith(prefix)
        }
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise just about anything
        raise _broken(path, error) from error


def _tensor_to_array(tensor, storage, order):
    dtype = np.dtype(tensor.storage.dtype).newbyteorder(order)
    return np.ndarray(  # which checks that shape, offset and strides stay inside the storage
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
            raise EOFError(f"the file ends inside tensor storage {key}")
        storages[key] = content[start + 8 : end]
        start = end
    return state, lambda storage: storages[storage.key], order


# ---------------------------------------------------------------------------------------------
# NumPy arrays in plain containers: the Lasagne model zoo
# ---------------------------------------------------------------------------------------------


class _DType:
    """Stands for numpy.dtype while the pickle is read: a type code, then its byte order."""

    def __init__(self, code, *_align_and_copy):
        if np.dtype(code).kind not in "fiubSU":
            raise pickle.UnpicklingError(f"arrays of {code!r} are not read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray while the pickle is read; `value` is what it says."""

    def __init__(self, *_type_shape_and_code):
        self.value = None

    def __setstate__(self, state):
        _version, shape, dtype, fortran, data = state
        self.value = _from_bytes(data, dtype, shape, "F" if fortran else "C")


def _from_bytes(data, dtype, shape, order="C"):
    data = data.encode("latin-1") if isinstance(data, str) else data  # a string of Python 2
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _new_dtype(*arguments):
    return _DType(*arguments)


def _new_array(*arguments):
    return _Array(*arguments)


def _new_scalar(dtype, data):
    return _from_bytes(data, dtype, ())


def _encode(text, encoding):
    # Python 3 writes bytes so in the protocols of Python 2, which have none.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not read")
    return text.encode("latin-1")


_NUMPY_NAMES = (
    {("numpy", "ndarray"): "ndarray", ("numpy", "dtype"): _new_dtype}
    | {
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")  # until NumPy 1, from NumPy 2
        for module, name, function in (
            ("multiarray", "_reconstruct", _new_array),
            ("multiarray", "scalar", _new_scalar),
            ("numeric", "_frombuffer", _from_bytes),
        )
    }
    | {("_codecs", "encode"): _encode}
)


def read_arrays(path: str | os.PathLike) -> object:
    """What a pickle of NumPy arrays in dicts, lists and tuples holds, strings and numbers too.

    Pickles of Python 2 are read as well, their strings as Latin-1. A UserError where the file is
    damaged or asks for anything else.
    """
    try:
        with open(path, "rb") as file:
            return _resolve(_Unpickler(file, path, _NUMPY_NAMES, encoding="latin-1").load())
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise just about anything
        raise _broken(path, error) from error


def _resolve(value):
    """`value` with its arrays in place of what stood for them."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _resolve(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_resolve, value))
    return value
