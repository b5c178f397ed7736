"""Arrays of numbers in MATLAB's files.

SciPy reads them too, but it crashes at damaged ones: it makes room for what a part states to have
before it looks whether that is there, and trusts types of numbers that do not exist. The layout is
that of MathWorks' "MAT-File Format", chapter 1: a header, then elements of a tag and its bytes.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from reseg_jax.files.atomic import read_file

_HEADER = 128  # bytes, of which the last two say the order of bytes
_MATRIX, _COMPRESSED = 14, 15  # types of elements that hold elements
_NUMBERS = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"},
    **{12: "i8", 13: "u8"},
}  # types of elements that hold numbers, table 1-1
_NUMERIC_CLASSES = range(6, 16)  # double, single, and the integers; table 1-3
_COMPLEX = 1 << 11  # a flag of an array
_MOST_BYTES = 1 << 20  # unpacked; the file of the splits has a fiftieth


def read(path: str | os.PathLike, key: str) -> np.ndarray:
    """The array called `key` in a file of MATLAB 5 to 7.

    Raises:
      UserError: the file is not there or cannot be read.
      ValueError: it is damaged, or no such file.
      KeyError: it has no such array.
    """
    content = read_file(path, _MOST_BYTES)
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if not order:
        raise ValueError("no file of MATLAB 5 to 7")
    for kind, inner in _elements(content[_HEADER:], order):
        if kind == _COMPRESSED:
            ((kind, inner),) = _elements(_unpacked(inner), order)
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where an array should be")
        name, *parts = _parts(inner, order)
        if name == key:
            return _array(*parts, order)
    raise KeyError(key)


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of each element."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        begin = at + 8
        if kind >> 16:  # a small one: its bytes are within its tag
            kind, size, begin = kind & 0xFFFF, kind >> 16, at + 4
            at += 8
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        else:  # the next one begins at a multiple of eight bytes, unless this is packed
            at = begin + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if size > len(content) - begin:
            missing = size - (len(content) - begin)
            raise ValueError(f"{missing} bytes of an element of {size} bytes are missing")
        yield kind, content[begin : begin + size]


def _unpacked(content):
    unpacking = zlib.decompressobj()
    try:
        inner = unpacking.decompress(content, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked ({error})") from error
    if not unpacking.eof:
        raise ValueError(f"cut off, or of more than {_MOST_BYTES} bytes")
    return inner


def _parts(content, order):
    """(name, flags, sizes, numbers) of an array; the elements that follow are of other kinds."""
    try:
        (flags_type, flags), (_, sizes), (_, name), *rest = _elements(content, order)
        numbers = rest[0] if rest else (2, b"")  # no array of numbers, or none of it
        return name.decode("ascii"), _numbers(flags_type, flags, order), sizes, *numbers
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"an array is damaged ({error})") from error


def _array(flags, sizes, kind, content, order):
    if int(flags[0]) & 0xFF not in _NUMERIC_CLASSES or int(flags[0]) & _COMPLEX:
        raise ValueError("it is no array of real numbers")
    shape = [int(size) for size in _numbers(5, sizes, order)]
    numbers = _numbers(kind, content, order)
    if min(shape, default=0) < 0 or math.prod(shape) != len(numbers):
        raise ValueError(f"{len(numbers)} numbers in an array of {shape}")
    return numbers.reshape(shape, order="F")


def _numbers(kind, content, order):
    if kind not in _NUMBERS or len(content) % int(_NUMBERS[kind][1]):
        raise ValueError(f"{len(content)} bytes of the type {kind}, which are no numbers")
    return np.frombuffer(content, order + _NUMBERS[kind])
