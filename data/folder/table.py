"""classes.json, and label files read by it.

    {"names": ["background", "cat"], "palette": [[0, 0, 0], [255, 255, 255]],
     "void": 255, "void_colours": [[224, 224, 192]]}

Only "names" must be there.
"""

import json
import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.reading.colors import decode
from reseg_jax.config import VOID, Classes
from reseg_jax.drawing.panels import default_classes
from reseg_jax.errors import UserError
from reseg_jax.files import images
from reseg_jax.files.atomic import read_file

FIELDS = ("names", "palette", "void", "void_colours")
COLOURED = ("P", "RGB", "RGBA", "RGBX")  # Pillow's modes of label files with colours
WHITE = (255, 255, 255)


class Table(NamedTuple):
    """Classes, and what else label files may hold."""

    classes: Classes
    void_colours: tuple[tuple[int, int, int], ...]
    white: bool  # 255 in a grey file is white, the colour of a class, and not void


def read_table(path: str | os.PathLike) -> Table:
    """The table at `path`; a UserError says what is wrong in it."""
    try:
        content = json.loads(read_file(path))
    except ValueError as error:
        raise UserError(f"{path} is no JSON file ({error})") from error
    if not isinstance(content, dict) or not set(content) <= set(FIELDS) or "names" not in content:
        optional = ", ".join(f'"{field}"' for field in FIELDS[1:])
        raise UserError(f'{path}: expected {{"names": [...]}}, with or without {optional}')
    names, void = content["names"], content.get("void", VOID)
    if not _is_list_of(names, str) or not 2 <= len(set(names)) == len(names) <= VOID:
        raise UserError(f'{path}: "names" must be 2 to {VOID} different texts, one a class')
    palette = content.get("palette") or default_classes(len(names)).palette
    void_colours = content.get("void_colours", [])
    for field, colours in (("palette", palette), ("void_colours", void_colours)):
        if not isinstance(colours, list | tuple) or not all(map(_is_colour, colours)):
            raise UserError(f'{path}: "{field}" must be a list of [red, green, blue], 0 to 255')
    everything = [tuple(colour) for colour in (*palette, *void_colours)]
    if len(palette) != len(names) or len(set(everything)) != len(everything):
        raise UserError(f'{path}: "palette" needs {len(names)} colours, one a class, all different')
    if type(void) is not int or not len(names) <= void <= VOID:
        raise UserError(
            f'{path}: "void" must be a value of label files from {len(names)} to {VOID}, no class'
        )
    palette, void_colours = everything[: len(names)], everything[len(names) :]
    white = WHITE in palette and "void" not in content
    return Table(Classes(tuple(names), tuple(palette), void), tuple(void_colours), white)


def read_label(path: str | os.PathLike, table: Table) -> np.ndarray:
    """A label file as uint8 [H, W], 0..K-1 or VOID; a UserError if it is none.

    A grey file holds class indices; but if it has a 255 and white is a class, its values are
    colours. A palette file is read by its colours where the table has all that are used, else by
    its indices. Any other is read by its colours.
    """
    try:
        with Image.open(path) as image:
            mode, kind, extrema = image.mode, image.format, image.getextrema()
            see_through = mode == "P" and "transparency" in image.info  # no colour there
    except Exception:  # broken files make Pillow raise nearly anything
        return images.read_label(path, table.classes)  # which says what is wrong
    coloured = mode in COLOURED or (mode == "L" and extrema[1] == 255 and table.white)
    if kind in ("JPEG", "MPO") or not coloured or see_through:
        return images.read_label(path, table.classes)
    picture = images.read_image(path)
    label, known = decode(picture, _colours(table))
    if known.all():
        return label
    if mode in ("P", "L"):
        return images.read_label(path, table.classes)
    stray = tuple(picture[~known][0].tolist())
    raise UserError(f"{path} holds the colour {stray}, which is not in the table of classes")


def _colours(table):
    """(colour, label) of every class and of void."""
    palette = [(colour, index) for index, colour in enumerate(table.classes.palette)]
    return palette + [(colour, VOID) for colour in table.void_colours]


def _is_list_of(value, kind):
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _is_colour(value):
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(type(part) is int and 0 <= part <= 255 for part in value)
