"""The arrays of an `.npz`, whose shapes are known before their numbers are read.

`numpy.load` gives an array only whole, whatever its file claims to hold.
"""

import contextlib
import functools
import math
import os
from collections.abc import Iterator

import numpy as np

from reseg_jax.files.zips import Unpacker

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}  # NumPy writes these for every array without named fields.


class Entry:
    """An array of an archive, not read yet.

    Attributes:
      shape, dtype: what its header says.
    """

    def __init__(self, archive: Unpacker, name: str):
        self._archive, self._info = archive, archive.getinfo(name)

    @functools.cached_property
    def _header(self):
        with self._archive.open(self._info) as file:
            read = _HEADERS[np.lib.format.read_magic(file)]
            shape, by_columns, dtype = read(file)
            begin = file.tell()
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or begin + size != self._info.file_size:
            raise ValueError(f"{self._info.filename} is no array of numbers of the size it states")
        return shape, dtype, "F" if by_columns else "C", begin

    @property
    def shape(self) -> tuple[int, ...]:
        return self._header[0]

    @property
    def dtype(self) -> np.dtype:
        return self._header[1]

    def read(self) -> np.ndarray:
        """The array, which cannot be written to."""
        shape, dtype, order, begin = self._header
        content = self._archive.read(self._info)
        return np.frombuffer(content, dtype, offset=begin).reshape(shape, order=order)

    def text(self, limit: int) -> str:
        """The text that this is, of at most `limit` characters.

        Raises:
          ValueError: it is none, or holds numbers that are no characters, which NumPy would let
            into a text that then cannot be printed or pickled.
        """
        if self.shape or self.dtype.kind != "U" or self.dtype.itemsize > 4 * limit:
            raise ValueError(f"{self._info.filename} is no text")
        order = "be" if self.dtype.str.startswith(">") else "le"
        return self.read().tobytes().decode(f"utf-32-{order}").rstrip("\0")


@contextlib.contextmanager
def open_npz(path: str | os.PathLike) -> Iterator[dict[str, Entry]]:
    """The arrays of a file by name.

    Args:
      path: the file.

    Yields:
      {name: array}, to be read while the file is open.

    Raises:
      UserError: it would be unreasonably large when unpacked.
      Others: it is damaged or no such file; zipfile and NumPy raise a dozen kinds.
    """
    with Unpacker(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        yield {name.removesuffix(".npy"): Entry(archive, name) for name in names}
