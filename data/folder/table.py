"""classes.json, and label files read by it.

    {"names": ["background", "cat"], "palette": [[0, 0, 0], [255, 255, 255]],
     "void": 255, "void_colors": [[224, 224, 192]]}

Only "names" must be there.
"""

import json
import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.reading.colors import Color, decode_colors
from reseg_jax.drawing.panels import default_classes
from reseg_jax.errors import UserError
from reseg_jax.files import images
from reseg_jax.files.atomic import read_file
from reseg_jax.labels import VOID, Classes

FIELDS = ("names", "palette", "void", "void_colors")
_OLD_FIELDS = {"void_colours": "void_colors"}
COLORED = ("P", "RGB", "RGBA", "RGBX")  # Pillow's modes of label files with colors
WHITE = (255, 255, 255)


class Table(NamedTuple):
    """Classes, and what else label files may hold.

    Attributes:
      classes: names, palette and the void value.
      void_colors: colors of pixels without truth in label files with colors.
      white: 255 in a gray file is white, the color of a class, and not void.
    """

    classes: Classes
    void_colors: tuple[Color, ...]
    white: bool


def read_table(path: str | os.PathLike) -> Table:
    """The table at `path`.

    Raises:
      UserError: says what is wrong in it.
    """
    try:
        content = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is no JSON file ({error})") from error
    if isinstance(content, dict):
        content = {_OLD_FIELDS.get(name, name): value for name, value in content.items()}
    if not isinstance(content, dict) or not set(content) <= set(FIELDS) or "names" not in content:
        optional = ", ".join(f'"{field}"' for field in FIELDS[1:])
        raise UserError(f'{path}: expected {{"names": [...]}}, with or without {optional}')
    names, void = content["names"], content.get("void", VOID)
    if not _is_list_of(names, str) or not 2 <= len(set(names)) == len(names) <= VOID:
        raise UserError(f'{path}: "names" must be 2 to {VOID} different texts, one per class')
    palette = content.get("palette") or default_classes(len(names)).palette
    void_colors = content.get("void_colors", [])
    for field, colors in (("palette", palette), ("void_colors", void_colors)):
        if not isinstance(colors, list | tuple) or not all(map(_is_color, colors)):
            raise UserError(f'{path}: "{field}" must be a list of [red, green, blue], 0 to 255')
    everything = [tuple(color) for color in (*palette, *void_colors)]
    if len(palette) != len(names) or len(set(everything)) != len(everything):
        raise UserError(
            f'{path}: "palette" needs {len(names)} colors, one per class, all different'
        )
    if type(void) is not int or not len(names) <= void <= VOID:
        raise UserError(
            f'{path}: "void" must be a value of label files from {len(names)} to {VOID}, no class'
        )
    palette, void_colors = everything[: len(names)], everything[len(names) :]
    white = WHITE in palette and "void" not in content
    return Table(Classes(tuple(names), tuple(palette), void), tuple(void_colors), white)


def read_label(path: str | os.PathLike, table: Table) -> np.ndarray:
    """A label file as class indices.

    A gray file holds class indices; but if it has a 255 and white is a class, its values are
    colors. A palette file is read by its colors if the table has all that are used, else by its
    indices. Any other is read by its colors.

    Returns:
      uint8 [H, W], 0..K-1 or VOID.

    Raises:
      UserError: it is no label file, or holds what the table does not name.
    """
    try:
        with Image.open(path) as image:
            mode, kind, extrema = image.mode, image.format, image.getextrema()
            transparent = mode == "P" and "transparency" in image.info  # no color there
    except Exception:  # broken files make Pillow raise nearly anything
        return images.read_label(path, table.classes)  # which says what is wrong
    colored = mode in COLORED or (mode == "L" and extrema[1] == 255 and table.white)
    if kind in ("JPEG", "MPO") or not colored or transparent:
        return images.read_label(path, table.classes)
    colors = images.read_image(path)
    label, known = decode_colors(colors, _color_table(table))
    if known.all():
        return label
    if mode in ("P", "L"):
        return images.read_label(path, table.classes)
    stray = tuple(colors[~known][0].tolist())
    raise UserError(f"{path} holds the color {stray}, which is not in the table of classes")


def _color_table(table):
    """(color, label) of every class and of void."""
    palette = [(color, index) for index, color in enumerate(table.classes.palette)]
    return palette + [(color, VOID) for color in table.void_colors]


def _is_list_of(value, kind):
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _is_color(value):
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(type(part) is int and 0 <= part <= 255 for part in value)
