"""Image and label files, read strictly: what cannot mean what it seems to is refused by name.

Photos become uint8 [H, W, 3] RGB: gray, 1-bit, palette and CMYK images are converted, EXIF
orientation is applied, an alpha channel that is opaque everywhere is dropped. Refused are
transparency (no color is defined there), more than 8 bits per channel (their range is a guess)
and animations.

Label files become `LabelPixels`: the numbers in gray, palette and 1-bit files, and the colors that
these show in. What they mean is up to a dataset's `LabelReading` (`label_reading.py`).
"""

import io
import math
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from reseg_jax.errors import UserError, first_line
from reseg_jax.files.atomic import read_file, write_file
from reseg_jax.labels import Color

SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What counts as an image among the files of a folder: formats that Pillow reads by itself."""

PHOTO_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's modes of 8 bits per channel with a defined conversion to RGB (its manual, Concepts)."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's formats behind `SUFFIXES`, which say in their first bytes what they are. No other is
tried: some of Pillow's start programs, or take any bytes for an image."""

TGA = ".tga"  # the only suffix for which a format without such first bytes is tried

MAX_MEGAPIXELS = 89.478485
"""Of an image. Above it Pillow warns of an attack: 256 MiB of RGB; to decode one takes a little
over a gigabyte. A photo of 8000x6000 has 48."""
LABEL_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX")
"""Pillow's modes that hold one exact number or color per pixel."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)

TIFF_BITS_PER_SAMPLE = 258  # tag number, TIFF 6.0 section 8
PNG_BIT_DEPTH = 24  # offset in the file: signature (8), chunk header (8), width and height (8)


def read_image(path: str | os.PathLike, upright: bool = True) -> np.ndarray:
    """The photo at `path`.

    Args:
      path: the file.
      upright: turn it as its EXIF orientation says; else it is given as it is stored.

    Returns:
      uint8 [H, W, 3] RGB.

    Raises:
      UserError: it is missing, damaged, or no photo of 8 bits per channel (see the file's head).
    """
    return decode_image(read_file(path), str(path), upright)


def decode_image(data: bytes, name: str, upright: bool = True) -> np.ndarray:
    """`read_image` of a file's content; `name` is for messages."""
    image, bits = _open(data, name, upright)
    if bits > 8 or image.mode.startswith("I"):
        raise UserError(f"{name} has more than 8 bits per channel: save it with 8")
    if image.mode not in PHOTO_MODES:
        raise UserError(f"{name} has pixels of kind {image.mode}: save it as 8-bit RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3] != (255, 255):
            raise UserError(f"{name} is transparent in places: flatten it onto a background")
    return np.array(image.convert("RGB"))


class LabelPixels(NamedTuple):
    """A label file as it is stored, before anybody says what it means.

    Attributes:
      kind: "1-bit", "gray", "palette" or "color".
      values: the numbers that are stored, uint8 [H, W]; of "color" [H, W, 3].
      shown: {number: the color (red, green, blue) that it shows in}; without those of a palette
        that are transparent. Of "color" it is empty.
    """

    kind: str
    values: np.ndarray
    shown: dict[int, Color]


def decode_label_pixels(data: bytes, name: str, upright: bool = True) -> LabelPixels:
    """What a label file holds.

    Args:
      data: the file's content.
      name: for messages.
      upright: as for `read_image`.

    Raises:
      UserError: it is damaged, or of a kind that keeps no exact labels.
    """
    image, bits = _open(data, name, upright)
    if image.format in ("JPEG", "MPO"):
        raise UserError(f"{name} is a JPEG, which alters labels: save the labels as a PNG")
    if image.mode not in LABEL_MODES or bits > 8:
        raise UserError(
            f"{name} is no label file: it has pixels of kind {image.mode}"
            f"{f' with {bits} bits' if bits > 8 else ''}; save it as a PNG with 8 bits per channel"
        )
    if image.mode == "1":
        return LabelPixels("1-bit", np.array(image, np.uint8), {0: BLACK, 1: WHITE})
    if image.mode == "L":
        values = np.array(image, np.uint8)
        # Pillow stretches 2 and 4 bits to 0..255, as viewers do.
        step = 255 // (2**bits - 1)
        return LabelPixels("gray", values // step, {i: (i * step,) * 3 for i in range(2**bits)})
    if image.mode == "P":
        return LabelPixels("palette", np.array(image, np.uint8), _palette(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3] != (255, 255):
            raise UserError(f"{name} is transparent in places: save it without transparency")
    return LabelPixels("color", np.array(image.convert("RGB")), {})


def _palette(image: Image.Image) -> dict[int, Color]:
    """{index: color} of the entries that are not transparent."""
    entries = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3).tolist()
    transparency = image.info.get("transparency", b"")  # an index, or an opacity per index
    if isinstance(transparency, int):
        hidden = {transparency}
    else:
        hidden = {index for index, opacity in enumerate(transparency) if opacity < 255}
    return {index: tuple(color) for index, color in enumerate(entries) if index not in hidden}


def _open(data: bytes, name: str, upright: bool = True) -> tuple[Image.Image, int]:
    """A decoded image, turned as its EXIF says if `upright`, and its bits per channel."""
    if not data:
        raise UserError(f"{name} is empty (0 bytes): copy or download it again")
    _raise_pillows_limit()
    try:
        image = Image.open(io.BytesIO(data), formats=formats_of(name))
        _check_pixels(image, name)
        # A phone's MPO is a photo followed by its thumbnails; other sequences are no photo.
        several = image.format != "MPO" and getattr(image, "is_animated", False)
        bits = _bits(image, data)
        if image.format == "PNG":  # to load it compares no checksum of pixels
            Image.open(io.BytesIO(data), formats=["PNG"]).verify()
        image.load()
        if upright:
            format_ = image.format
            image = ImageOps.exif_transpose(image)
            image.format = format_
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(name, f"{float(pixels[0]) / 1e6:.0f}" if pixels else "too many") from None
    except MemoryError:
        raise UserError(
            f"{name} is too large for the memory that is free: make it smaller"
        ) from None
    except Exception as error:  # broken files make Pillow raise nearly anything
        # Pillow's own words for an unknown format contain a memory address.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no image format recognized" if unknown else first_line(error)
        raise UserError(
            f"{name} cannot be read as an image, it is damaged or of an unknown kind "
            f"({reason}): copy or download it again"
        ) from error
    if several:
        raise UserError(f"{name} holds several images: save the one that is meant by itself")
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


def max_megapixels() -> float:
    """The largest image that is read: $RESEG_MAX_MEGAPIXELS, else `MAX_MEGAPIXELS`."""
    text = os.environ.get("RESEG_MAX_MEGAPIXELS")
    try:
        found = float(text) if text else MAX_MEGAPIXELS
    except ValueError:
        found = math.nan
    if not found > 0:
        raise UserError(f"RESEG_MAX_MEGAPIXELS={text}: give a number above 0, as 200")
    return found


def formats_of(name: str) -> list[str]:
    """Pillow's names of the formats that may be in a file of this name."""
    Image.init()  # older versions of Pillow lack AVIF
    known = [format_ for format_ in FORMATS if format_ in Image.OPEN]
    return [*known, "TGA"] if name.lower().endswith(TGA) else known


def _raise_pillows_limit():
    """Pillow refuses twice its own limit whatever ours is: a user who allows more is asked once."""
    ours, theirs = 1e6 * max_megapixels(), Image.MAX_IMAGE_PIXELS
    if theirs is not None and ours > max(theirs, 1e6 * MAX_MEGAPIXELS):
        Image.MAX_IMAGE_PIXELS = ours


def _check_pixels(image, name):
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels():
        raise _too_large(name, f"{image.width}x{image.height}, {megapixels:.0f}")


def _too_large(name, size):
    return UserError(
        f"{name} is too large ({size} megapixels; up to {max_megapixels():.0f} are read): make it "
        "smaller, or allow more by --max_megapixels, in Python by the environment variable "
        "RESEG_MAX_MEGAPIXELS"
    )


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
