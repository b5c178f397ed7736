"""What files say about themselves without being decoded, kept while a file stays as it is."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import ExifTags, Image

from reseg_jax.files.images import formats_of, read_image

TRANSPOSED = (5, 6, 7, 8)
"""Values of EXIF's orientation (2.3, tag 274) for which rows and columns are exchanged."""

MOST_KEPT = 1_000_000  # files that are remembered: some 200 MB

Value = TypeVar("Value")


class Header(NamedTuple):
    """Size and orientation of an image file.

    Attributes:
      stored: (height, width) of the pixels as they are stored.
      orientation: EXIF's, 1 to 8; 1 is upright.
    """

    stored: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) of the image that `read_image` gives."""
        return self.stored[::-1] if self.orientation in TRANSPOSED else self.stored


def unchanged(function: Callable[[Path], Value]) -> Callable[[Path], Value]:
    """`function` of a file, computed again only if the file's size or time is another."""

    @functools.lru_cache(MOST_KEPT)
    def kept(path, size, time):
        return function(path)

    @functools.wraps(function)
    def look(path):
        try:
            found = os.stat(path)
        except OSError:
            return function(path)  # which says what is wrong
        return kept(path, found.st_size, found.st_mtime_ns)

    return look


@unchanged
def read_header(path: Path) -> Header:
    """The header of an image file.

    Raises:
      UserError: the file is missing or no image.
    """
    try:
        with Image.open(path, formats=formats_of(str(path))) as image:
            width, height = image.size
            # Not `image.getexif()`, which decodes a PNG to look behind its pixels.
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            kind = image.format
    except Exception:  # broken files make Pillow raise nearly anything
        return Header(read_image(path).shape[:2], 1)  # which says what is wrong
    if orientation not in range(1, 9):
        orientation = 1
    stored = (height, width)
    if kind == "TIFF" and orientation in TRANSPOSED:
        # Some versions of Pillow have transposed a TIFF's size already.
        stored = read_image(path).shape[1::-1]
    return Header(stored, orientation)


def header_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of the image that `read_image` gives, from the file's header.

    Raises:
      UserError: the file is missing or no image.
    """
    return read_header(Path(path)).upright
