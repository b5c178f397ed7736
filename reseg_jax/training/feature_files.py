"""A file of the feature cache: an `.npy` with the CRC-32 of all its bytes at its end.

Of a map after a ReLU most numbers are 0 (on CamVid 83 % of conv3_3 and 71 % of conv2_2), so the
array in the file is a record of three: the map's shape, its numbers other than 0, and a bit for
each number that says whether it is one of them. That takes 0.23 and 0.36 of the bytes in float16,
and 5 ms to read for a frame's 2.8 million numbers; general compression gains little more (zlib over
it 0.19 and 0.32, LZMA of the map itself 0.22 and 0.36) and takes 4 to 30 times as long to write.

NumPy reads such a file as any other and never looks at what follows the array. The numbers are
kept as integers of their size, in a field that is called as their type: `.npy` cannot name
bfloat16. CRC-32, since it notices every single flipped bit and every cut, at 3 GB/s, twice the
speed of SHA-256 with the processor's help.
"""

import io
import math
import os
import shutil
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from reseg_jax.errors import UserError
from reseg_jax.files import atomic

MISSING = "missing"
OLD = "without a checksum, as older versions wrote it"
"""Problems that are no damage."""

_MARK = b"crc32 "
_LENGTH = len(_MARK) + 8 + 1  # eight hexadecimal digits and a line's end


def write(path: Path, array: np.ndarray) -> None:
    """Put `array`, of any shape and a type of float, at `path` with its checksum, in one step."""
    content = io.BytesIO()
    np.save(content, _packed(array))
    whole = content.getvalue()
    atomic.write_file(path, whole + _trailer(zlib.crc32(whole)))


def read(path: Path) -> np.ndarray:
    """The array that was written to `path`; the checksum is not looked at."""
    stored = np.load(path, mmap_mode="r")
    if stored.dtype.names is None:  # the array as it is: an older version's file
        return stored
    shape, dtype, nonzero = stored.dtype.names
    shape, numbers = tuple(stored[shape].tolist()), stored[dtype]
    array = np.zeros(math.prod(shape), numbers.dtype)
    places = np.unpackbits(stored[nonzero], count=array.size).view(bool)
    array[np.flatnonzero(places)] = numbers  # a third of the time that array[places] takes
    return array.reshape(shape).view(jnp.dtype(dtype))


def packed_bytes(array: np.ndarray) -> int:
    """How many bytes `write` would put on the disk, but for some hundred of header."""
    return _packed(array).nbytes


def problem(path: Path) -> str | None:
    """What is wrong with a file, all of which is read; None if nothing is.

    Raises:
      UserError: the file is there and cannot be read now.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                return "empty"
            file.seek(max(size - _LENGTH, 0))
            trailer = file.read()
            if not trailer.startswith(_MARK):
                return OLD if _is_whole_npy(path, size) else "cut short, or no features"
            file.seek(0)
            return None if _trailer(_crc(file, size - _LENGTH)) == trailer else "checksums differ"
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        raise UserError(
            f"{path} cannot be read now ({error.strerror}): check the disk and the permissions, "
            "or choose another --cache_dir"
        ) from error


def free_bytes(folder: Path) -> int:
    """Of the disk that a folder is on, or will be on once it is made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def check_room(folder: Path, needed: float, what: str) -> None:
    """UserError if the disk of `folder` has not the bytes that features of `what` need."""
    if needed > (free := free_bytes(folder)):
        raise UserError(
            f"{folder}: features of {what} need about {needed / 1e9:.3g} GB and {free / 1e9:.3g} "
            "GB are free there: make room, name a folder on another disk by --cache_dir, store "
            "half as many bytes by --set cache_dtype=float16 if it is float32, or compute them "
            "anew in every epoch by --set cache_features=false"
        )


def _packed(array):
    """The record that a file holds, as in the head of this module."""
    numbers = np.ascontiguousarray(array).reshape(-1).view(f"<u{array.itemsize}")
    places = numbers != 0  # -0.0 is kept: it has a bit that is not 0
    fields = {
        "shape": np.array(array.shape, "<i8"),
        array.dtype.name: numbers[places],
        "nonzero": np.packbits(places),
    }
    packed = np.empty((), [(name, each.dtype, each.shape) for name, each in fields.items()])
    for name, each in fields.items():
        packed[name] = each
    return packed


def _crc(file, size):
    """Of the next `size` bytes, through one small buffer: a page that is touched anew costs more.

    Not mapped into memory, where a disk's error would end the process.
    """
    found, buffer = 0, memoryview(bytearray(1 << 18))
    while size > 0 and (count := file.readinto(buffer[: min(size, len(buffer))])):
        found = zlib.crc32(buffer[:count], found)
        size -= count
    return found


def _trailer(crc):
    return _MARK + b"%08x\n" % crc


def _is_whole_npy(path, size):
    """Whether a file is one array in NumPy's format, without anything after it."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # what a damaged header raises depends on where it is damaged
        return False
    return isinstance(array, np.memmap) and array.offset + array.nbytes == size
