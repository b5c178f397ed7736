"""Arrays out of pickled weight files, without running what a pickle asks for.

A pickle is a program: it names functions and calls them. The unpicklers here know a handful of
names and answer them with small functions of their own, which only note down what an array is
made of; every other name ends the reading. NumPy's own functions are not among them, since some
trust their input (`dtype.__setstate__`); arrays are made when the pickle is over.

Here are NumPy arrays in plain containers, as in the Lasagne model zoo; `torch_files.py` reads
torch's.
"""

import os
import pickle

import numpy as np

from reseg_jax.errors import UserError


class RestrictedUnpickler(pickle.Unpickler):
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


def broken(path, error):
    """The UserError for a file that a reader stumbled over."""
    reason = " ".join(str(error).split())  # some messages have several lines
    return UserError(
        f"{path} is damaged or not a weight file of its kind ({type(error).__name__}: {reason}): "
        "copy or download it again"
    )


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
            return _resolve(
                RestrictedUnpickler(file, path, _NUMPY_NAMES, encoding="latin-1").load()
            )
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise just about anything
        raise broken(path, error) from error


def _resolve(value):
    """`value` with its arrays in place of what stood for them."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _resolve(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_resolve, value))
    return value
