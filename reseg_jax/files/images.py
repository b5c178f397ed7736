"""Image and label files, read strictly: what cannot mean what it seems to is refused by name.

Photos become uint8 [H, W, 3] RGB: gray, 1-bit, palette and CMYK images are converted, EXIF
orientation is applied, an alpha channel that is opaque everywhere is dropped. Refused are
transparency (no color is defined there), more than 8 bits per channel (their range is a guess)
and animations.

Labels become uint8 [H, W] of 0..K-1 and VOID: gray, palette (the indices) and 1-bit files.
"""

import glob
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from reseg_jax.errors import UserError, first_line
from reseg_jax.files.atomic import read_file, write_file
from reseg_jax.labels import VOID, Classes

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as an image among the files of a folder."""

PHOTO_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's modes of 8 bits per channel with a defined conversion to RGB (its manual, Concepts)."""

TIFF_BITS_PER_SAMPLE = 258  # tag number, TIFF 6.0 section 8
PNG_BIT_DEPTH = 24  # offset in the file: signature (8), chunk header (8), width and height (8)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """The photo at `path`.

    Returns:
      uint8 [H, W, 3] RGB.

    Raises:
      UserError: it is missing, damaged, or no photo of 8 bits per channel (see the file's head).
    """
    return decode_image(read_file(path), str(path))


def read_label(path: str | os.PathLike, classes: Classes) -> np.ndarray:
    """The label file at `path`.

    Args:
      path: a gray, palette or 1-bit image of class indices.
      classes: the K classes; the values `classes.void` and 255 are read as VOID.

    Returns:
      uint8 [H, W], 0..K-1 or VOID.

    Raises:
      UserError: it is missing, damaged, no such image, or has other values.
    """
    return decode_label(read_file(path), str(path), classes)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """`read_image` of a file's content; `name` is for messages."""
    image, bits = _open(data, name)
    if bits > 8 or image.mode.startswith("I"):
        raise UserError(f"{name} has more than 8 bits per channel: save it with 8")
    if image.mode not in PHOTO_MODES:
        raise UserError(f"{name} has pixels of kind {image.mode}: save it as 8-bit RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3] != (255, 255):
            raise UserError(f"{name} is transparent in places: flatten it onto a background")
    return np.array(image.convert("RGB"))


def decode_label(data: bytes, name: str, classes: Classes) -> np.ndarray:
    """`read_label` of a file's content; `name` is for messages."""
    image, bits = _open(data, name)
    if image.format in ("JPEG", "MPO"):
        raise UserError(f"{name} is a JPEG, which alters labels: save the class indices as a PNG")
    if image.mode not in ("1", "L", "P") or bits > 8:
        raise UserError(
            f"{name} is no label file: it has pixels of kind {image.mode}, and one 8-bit class "
            "index per pixel is expected (a gray or palette PNG)"
        )
    values = np.array(image, np.uint8)
    if image.mode == "L":
        values //= 255 // (2**bits - 1)  # Pillow stretches 2 and 4 bits to 0..255
    return _check_values(values, name, classes)


def _check_values(values: np.ndarray, name: str, classes: Classes) -> np.ndarray:
    count = len(classes.names)
    void = sorted({classes.void, VOID})
    bad = [value for value in np.unique(values).tolist() if value >= count and value not in void]
    if bad:
        listed = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise UserError(
            f"{name} holds the label {'values' if len(bad) > 1 else 'value'} {listed}; known are "
            f"0 to {count - 1} for the classes and {' or '.join(map(str, void))} for void"
        )
    return np.where(np.isin(values, void), np.uint8(VOID), values)


def _open(data: bytes, name: str) -> tuple[Image.Image, int]:
    """A decoded, upright image, and the bits per channel in the file."""
    if not data:
        raise UserError(f"{name} is empty (0 bytes): copy or download it again")
    try:
        image = Image.open(io.BytesIO(data))
        # A phone's MPO is a photo followed by its thumbnails; other sequences are no photo.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        bits = _bits(image, data)
        image.load()
        format_ = image.format
        image = ImageOps.exif_transpose(image)
        image.format = format_
    except Exception as error:  # broken files make Pillow raise nearly anything
        # Pillow's own words for an unknown format contain a memory address.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no image format recognized" if unknown else first_line(error)
        raise UserError(
            f"{name} cannot be read as an image, it is damaged or of an unknown kind "
            f"({reason}): copy or download it again"
        ) from error
    if frames > 1:
        raise UserError(f"{name} holds {frames} images: save the one that is meant by itself")
    if 0 in image.size:
        raise UserError(f"{name} has no pixels: its size is {image.width}x{image.height}")
    return image, bits


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per channel in the file: Pillow reads 16-bit color as 8-bit without a warning."""
    if image.format == "PNG":
        return data[PNG_BIT_DEPTH]
    if image.format == "TIFF":
        return max(image.tag_v2.get(TIFF_BITS_PER_SAMPLE, (1,)))
    return 8


def list_images(pattern: str) -> list[pathlib.Path]:
    """The images that a user named.

    Args:
      pattern: FILE, DIR or GLOB. A file is taken whatever it is called; in a folder and among the
        matches of a glob only image files are, by suffix.

    Returns:
      Paths, sorted.

    Raises:
      UserError: there is none.
    """
    path = pathlib.Path(pattern)
    if path.is_file():
        return [path]
    looked = ", ".join(SUFFIXES)
    if path.is_dir():
        found = list(path.iterdir())
        problem = f"the folder {pattern} holds no image ({looked})"
    else:
        found = [pathlib.Path(match) for match in glob.glob(pattern, recursive=True)]
        problem = f"no image ({looked}) matches {pattern}"
        if not found and not glob.has_magic(pattern):
            problem = f"{pattern} does not exist: give an image, a folder of images or a pattern"
    images = [
        file
        for file in found
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
    if not images:
        raise UserError(problem)
    return sorted(images)


def write_png(
    path: str | os.PathLike,
    array: np.ndarray,
    palette: Sequence[tuple[int, int, int]] | None = None,
) -> None:
    """Writes a PNG in one step.

    Args:
      path: the file.
      array: uint8 [H, W], gray, or [H, W, 3], RGB.
      palette: K (red, green, blue), 0..255: an [H, W] array is then written as class indices that
        show in color; values from K on, VOID among them, show black.

    Raises:
      UserError: the file cannot be written.
    """
    image = Image.fromarray(array)
    if palette is not None:
        entries = np.zeros((256, 3), np.uint8)
        entries[: len(palette)] = palette
        image.putpalette(entries.tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_file(path, stream.getvalue())
