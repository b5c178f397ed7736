"""Image and label files, read strictly: what cannot mean what it seems to is refused by name.

Photos become uint8 [H, W, 3] RGB: gray, 1-bit, palette and CMYK images are converted, EXIF
orientation is applied, an alpha channel that is opaque everywhere is dropped. Refused are
transparency (no color is defined there), more than 8 bits per channel (their range is a guess)
and animations.

Label files become `LabelPixels`: the numbers in gray, palette and 1-bit files, and the colors that
these show in. What they mean is up to a dataset's `LabelReading` (`label_reading.py`).
"""

import glob
import io
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from reseg_jax.errors import UserError, first_line
from reseg_jax.files.atomic import read_file, write_file
from reseg_jax.files.walk import walk
from reseg_jax.labels import Color

SUFFIXES = (
    *(".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What counts as an image among the files of a folder: formats that Pillow reads by itself."""

PHOTO_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's modes of 8 bits per channel with a defined conversion to RGB (its manual, Concepts)."""

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
    try:
        image = Image.open(io.BytesIO(data))
        # A phone's MPO is a photo followed by its thumbnails; other sequences are no photo.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        bits = _bits(image, data)
        image.load()
        if upright:
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


def list_images(
    pattern: str, leave_out: Collection[pathlib.Path] = ()
) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """The images that a user named.

    Args:
      pattern: FILE, DIR or GLOB. A file is taken whatever it is called; in a folder, all folders in
        it, and among the matches of a glob only image files are, by suffix. Names of folders that
        are there are taken as they are, brackets too; the suffix of a glob is of any case.
      leave_out: folders that are not searched.

    Returns:
      (the folder that holds all of them, their paths, sorted).

    Raises:
      UserError: there is none.
    """
    path = pathlib.Path(pattern)
    if path.is_file():
        return path.parent, [path]
    looked = ", ".join(SUFFIXES)
    if path.is_dir():
        found = walk(path, SUFFIXES, leave_out)
        if not found.files:
            raise UserError(f"the folder {pattern} holds no image ({looked}){found.passed_over}")
        return path, [path / file for file in found.files]
    images = [
        file
        for file in map(pathlib.Path, glob.glob(_pattern(pattern), recursive=True))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
    if not images and not glob.has_magic(pattern):
        raise UserError(f"{pattern} does not exist: give an image, a folder of images or a pattern")
    if not images:
        raise UserError(f"no image ({looked}) matches {pattern}")
    return pathlib.Path(os.path.commonpath([file.parent for file in images])), sorted(images)


def _pattern(pattern: str) -> str:
    """A glob in which folders that are there stand for themselves, and suffixes have any case."""
    place, rest = "", pattern
    while "/" in rest.lstrip("/"):
        head, slash, after = rest.partition("/")
        if head and not os.path.isdir(place + head):
            break
        place, rest = place + head + slash, after
    stem, dot, suffix = rest.rpartition(".")
    if dot and suffix.isalnum():
        rest = f"{stem}.{''.join(f'[{c.lower()}{c.upper()}]' for c in suffix)}"
    return glob.escape(place) + rest


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
