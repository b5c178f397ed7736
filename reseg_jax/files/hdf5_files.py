"""The arrays of an HDF5 file, which lie in the file itself and whose shapes are known before.

HDF5 can also place numbers in any other file of the machine, follow links to other files or round
in circles, and state sizes for which there are no numbers; all this is refused.
"""

import contextlib
import math
import os
from collections.abc import Iterator

import numpy as np

from reseg_jax.errors import UserError

_DEEPEST = 8  # groups within one another; Keras' models have five
_MOST_IN_CHUNKS = 1 << 20  # bytes of a chunk that is larger than its array


class Entry:
    """An array of a file, not read yet.

    Attributes:
      shape, dtype: what its header says.
    """

    def __init__(self, dataset):
        self._dataset, self.shape, self.dtype = dataset, dataset.shape, dataset.dtype

    def read(self) -> np.ndarray:
        """The array.

        Raises:
          UserError: it is compressed, so that a small file may become a large one.
          ValueError: not all of its numbers are in the file.
        """
        name, plan = self._dataset.name, self._dataset.id.get_create_plist()
        if self._dataset.is_virtual or plan.get_external_count():
            raise ValueError(f"{name} has its numbers in another file")
        if plan.get_nfilters():
            raise UserError(
                f"{self._dataset.file.filename} has {name} compressed: "
                "unpack it, as by h5repack -f NONE OLD.h5 NEW.h5"
            )
        size = math.prod(self.shape) * self.dtype.itemsize
        chunk = math.prod(self._dataset.chunks or ()) * self.dtype.itemsize
        if chunk > max(size, _MOST_IN_CHUNKS) or self._dataset.id.get_storage_size() < size:
            raise ValueError(f"{name} is larger than what the file has of it")
        return self._dataset[()]


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike, group: str) -> Iterator[dict[str, Entry]]:
    """The arrays of a file by name.

    Args:
      path: the file.
      group: what holds them; if the file has no group of that name, all of it.

    Yields:
      {names of the groups and of the array, with a slash between them: array}, to be read while
      the file is open.

    Raises:
      UserError: h5py is not installed.
      Others: the file is damaged, no HDF5, or has links; HDF5 raises many kinds.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(f"{path} needs a package: pip install h5py") from None

    seen = set()

    def visit(parent, prefix, depth):
        address = h5py.h5o.get_info(parent.id).addr
        if address in seen:  # a group that is in itself, by its own name
            return
        seen.add(address)
        if depth > _DEEPEST:
            raise ValueError(f"{prefix} is too deep in it")
        for name in parent:
            if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{prefix}{name} is a link")
            item = parent[name]
            if isinstance(item, h5py.Dataset):
                yield f"{prefix}{name}", Entry(item)
            elif isinstance(item, h5py.Group):
                yield from visit(item, f"{prefix}{name}/", depth + 1)

    with h5py.File(path, "r") as file:
        own = file.get(group, getlink=True)
        if own is not None and not isinstance(own, h5py.HardLink):
            raise ValueError(f"{group} is a link")
        yield dict(visit(file if own is None else file[group], "", 0))
