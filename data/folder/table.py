"""The table of classes: classes.json, or the class_dict.csv and labelmap.txt of other tools.

    {"names": ["background", "cat"], "palette": [[0, 0, 0], [255, 255, 255]],
     "void": [250, 255], "values": {"0": "background", "7": "cat"}, "void_colors": [[9, 9, 9]],
     "colors_in_labels": false}

Only "names" must be there; README.md says what each field means.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from data.folder.table_files import WrongTable, from_csv, from_json, from_labelmap
from reseg_jax.drawing.panels import default_classes
from reseg_jax.errors import UserError
from reseg_jax.files.atomic import read_file
from reseg_jax.labels import VOID, Color

FIELDS = ("names", "palette", "void", "void_colors", "values", "colors_in_labels")
EXAMPLE = '{"names": ["background", "cat"], "palette": [[0, 0, 0], [255, 255, 255]], "void": 255}'
FILES = ("classes.json", "class_dict.csv", "labelmap.txt")
"""What a table is called in a dataset's folder."""


class Table(NamedTuple):
    """What the file says.

    Attributes:
      names: of the K classes.
      palette: one color per class, or None.
      void: values without truth that the file names; None if it names none.
      void_colors: colors of pixels without truth.
      values: (value of label files, class) pairs if the file maps them, else None.
      colors_in_labels: whether label files are read by the colors of the palette; None: not said.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...] | None = None
    void: tuple[int, ...] | None = None
    void_colors: tuple[Color, ...] = ()
    values: tuple[tuple[int, int], ...] | None = None
    colors_in_labels: bool | None = None

    @property
    def drawn(self) -> tuple[Color, ...]:
        """Colors to draw with, made up if the table has none."""
        return self.palette or default_classes(len(self.names)).palette


def read_table(path: str | os.PathLike) -> Table:
    """The table at `path`, by its suffix: .csv, .txt (CVAT's labelmap), else JSON.

    Raises:
      UserError: says what is wrong in it, and shows an example.
    """
    data = read_file(path)
    readers = {".csv": from_csv, ".txt": from_labelmap}
    try:
        content = readers.get(Path(path).suffix.lower(), from_json)(data)
        return _check(content)
    except WrongTable as error:
        raise UserError(f"{path}: {error}; an example in JSON: {EXAMPLE}") from error


def _check(content):
    """The `Table` of the content of a file."""
    if unknown := [name for name in content if name not in FIELDS]:
        known = ", ".join(f'"{field}"' for field in FIELDS)
        raise WrongTable(f"unknown field {json.dumps(unknown[0])}; known are {known}")
    if "names" not in content:
        raise WrongTable('"names" is missing')
    names = _check_names(content["names"])
    in_labels = content.get("colors_in_labels")
    if in_labels not in (None, True, False) or type(in_labels) is int:
        raise WrongTable('"colors_in_labels" must be true or false')
    palette = content.get("palette") or None
    void_colors = content.get("void_colors", [])
    for field, colors in (("palette", palette or []), ("void_colors", void_colors)):
        if not isinstance(colors, list) or not all(map(_is_color, colors)):
            raise WrongTable(f'"{field}" must be a list of [red, green, blue], 0 to 255 each')
    everything = [tuple(color) for color in (*(palette or []), *void_colors)]
    if palette is not None and len(palette) != len(names):
        raise WrongTable(f'"palette" needs {len(names)} colors, one per class')
    if in_labels is not False and len(set(everything)) < len(everything):
        twice = next(color for color in everything if everything.count(color) > 1)
        raise WrongTable(
            f'the colors must be all different, and {twice} is there twice (with "colors_in_labels"'
            ": false the palette is only drawn with, and they need not be)"
        )
    if in_labels and palette is None:
        raise WrongTable('"colors_in_labels" is true but there is no "palette"')
    void = _check_void(content.get("void"), names)
    values = _check_values(content.get("values"), names, void or ())
    if values and in_labels:
        raise WrongTable('"values" are numbers, and "colors_in_labels" is true: leave one out')
    count = len(palette or [])
    palette, void_colors = tuple(everything[:count]) or None, tuple(everything[count:])
    return Table(names, palette, void, void_colors, values, in_labels)


def _check_names(names):
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongTable('"names" must be a list of texts, one per class')
    if not 2 <= len(names) <= VOID:
        raise WrongTable(f'"names" must be 2 to {VOID} texts, one per class, not {len(names)}')
    for name in names:
        if not name.strip() or not name.isprintable():  # lone surrogates are not printable either
            raise WrongTable(f'"names" has {json.dumps(name)}, which is empty or cannot be printed')
        if names.count(name) > 1:
            raise WrongTable(f'"names" must be different, and {name!r} is there twice')
    return tuple(names)


def _check_void(void, names):
    """The void values, or None."""
    if void is None:
        return None
    values = void if isinstance(void, list) else [void]
    if not values or not all(_is_value(value) for value in values):
        raise WrongTable('"void" must be a value of label files, 0 to 255, or a list of values')
    if len(set(values) | {VOID}) + len(names) > VOID + 1:
        raise WrongTable(f'"void" leaves no values for {len(names)} classes')
    return tuple(sorted(set(values)))


def _check_values(values, names, void):
    """The (value, class) pairs, or None."""
    if values is None:
        return None
    if not isinstance(values, dict) or not values:
        raise WrongTable('"values" must map values of label files to classes: {"7": "cat"}')
    pairs = []
    for text, name in values.items():
        if not (text.isascii() and text.isdigit() and int(text) <= 255):
            raise WrongTable(f'"values" has {json.dumps(text)}, no value from "0" to "255"')
        index = names.index(name) if name in names else name
        if type(index) is not int or not 0 <= index < len(names):
            raise WrongTable(
                f'"values" maps {text} to {json.dumps(name)}, which is none of the "names"'
            )
        pairs.append((int(text), index))
    given = [value for value, _ in pairs]
    if len(set(given)) < len(given) or set(given) & set(void):
        raise WrongTable('"values" and "void" must name each value once')
    if absent := [name for index, name in enumerate(names) if index not in dict(pairs).values()]:
        raise WrongTable(f'"values" has no value for the class {absent[0]!r}')
    return tuple(sorted(pairs))


def _is_value(value):
    return type(value) is int and 0 <= value <= 255


def _is_color(value):
    if not isinstance(value, list) or len(value) != 3:
        return False
    return all(map(_is_value, value))
