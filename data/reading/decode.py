"""Image files decoded in threads, and their sizes without decoding."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import ExifTags, Image

from data.reading.layout import Pair
from reseg_jax.files.images import read_image

Decoded = TypeVar("Decoded")

TRANSPOSED = (5, 6, 7, 8)
"""Values of EXIF's orientation (2.3, tag 274) for which rows and columns are exchanged."""


def decode_all(read: Callable[[Pair], Decoded], pairs: Iterable[Pair]) -> list[Decoded]:
    """`read` of each pair, in order, on several threads.

    Decoding releases the interpreter's lock, so that threads do in parallel what costs the time.

    Raises:
      UserError: of the first pair for which `read` raises it.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, pairs))


def header_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of the image that `read_image` gives, from the file's header.

    Raises:
      UserError: the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Not `image.getexif()`, which decodes a PNG to look behind its pixels.
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            # Some versions of Pillow have transposed a TIFF's size already.
            certain = orientation not in TRANSPOSED or image.format != "TIFF"
    except Exception:  # broken files make Pillow raise nearly anything
        certain = False
    if not certain:
        return read_image(path).shape[:2]  # which says what is wrong, if it is broken
    return (width, height) if orientation in TRANSPOSED else (height, width)
