"""Arrays of MATLAB's files, the sizes of whose parts are checked before SciPy reads them.

SciPy makes room for what a part states to have before it looks whether that is there. The layout
is that of MathWorks' "MAT-File Format", chapter 1: a header, then elements of a tag and its bytes.
"""

import io
import os
import struct
import zlib

import numpy as np

from reseg_jax.files.atomic import read_file

_HEADER = 128  # bytes, of which the last two say the order of bytes
_MATRIX, _COMPRESSED = 14, 15  # types of elements that hold elements
_MOST_BYTES = 1 << 20  # unpacked; the file of the splits has a fiftieth
_DEEPEST = 8  # elements within one another; an array of numbers has two


def read(path: str | os.PathLike, key: str) -> np.ndarray:
    """The array called `key` in a file.

    Raises:
      UserError: the file is not there or cannot be read.
      Others: it is damaged, or no such file; SciPy raises nearly anything.
    """
    from scipy.io import loadmat  # only here: MATLAB's format is read nowhere else

    content = read_file(path, _MOST_BYTES)
    # A file of version 4 has neither mark, and SciPy reads no more of it than is there.
    if order := {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER]):
        _check(content[_HEADER:], order)
    return loadmat(io.BytesIO(content))[key]


def _check(content, order, depth=0):
    """ValueError if an element states to have more than there is."""
    if depth > _DEEPEST:
        raise ValueError("its elements are nested too deeply")
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        at += 8
        if kind >> 16:  # a small one: up to four bytes, within its tag
            continue
        if size > len(content) - at:
            raise ValueError(f"an element of {size} bytes, of which {len(content) - at} are there")
        inner = content[at : at + size]
        if kind == _COMPRESSED:
            unpacking = zlib.decompressobj()
            inner = unpacking.decompress(inner, _MOST_BYTES)
            if unpacking.unconsumed_tail:
                raise ValueError(f"unpacked it has more than {_MOST_BYTES} bytes")
        if kind in (_COMPRESSED, _MATRIX):
            _check(inner, order, depth + 1)
        at += size if kind == _COMPRESSED else -(-size // 8) * 8
