"""Which reading the label files of a dataset get: one for all, from all, by the table of classes.

README.md states the rule. `candidates` are the readings that a table allows, `decide` takes one of
them by what the files hold, and whatever does not fit it is an error.
"""

from collections.abc import Mapping
from pathlib import Path

from data.folder.table import Table
from reseg_jax.errors import UserError
from reseg_jax.files.images import BLACK, WHITE
from reseg_jax.files.label_reading import (
    LabelSummary,
    expected,
    meaning_in,
    shown_colors,
    strays,
)
from reseg_jax.labels import VOID, Classes, LabelReading

MOST_FILES = 3  # that an error names

Summaries = Mapping[Path, LabelSummary]


def candidates(table: Table) -> dict[str, LabelReading]:
    """{kind: the reading} that label files of a table may have."""
    by_number = table.values is not None or table.colors_in_labels is False
    found = {}
    if not table.colors_in_labels:
        found["indices"] = _indices(table)
    if by_number:  # color files hold the number in every channel, or in the red one
        numbers = found["indices"].meaning
        colors = {(number,) * 3: label for number, label in numbers}
        colors |= {(number, 0, 0): label for number, label in numbers if number}
        found["channels"] = LabelReading("colors", tuple(colors.items()))
    if table.palette and not by_number:
        colors = [(color, index) for index, color in enumerate(table.palette)]
        void = [(color, VOID) for color in table.void_colors]
        found["colors"] = LabelReading("colors", (*colors, *void))
    if table.colors_in_labels is None and not by_number and (levels := _black_and_white(table)):
        found["gray levels"] = LabelReading("gray levels", levels)
    return found


def decide(table: Table, files: Summaries) -> LabelReading:
    """The one reading of all label files.

    Args:
      table: of the classes.
      files: every label file of the dataset, of all splits.

    Raises:
      UserError: counts the files that do not fit it, and names the first ones with what they hold;
        or the files could mean two things.
    """
    allowed = candidates(table)
    reading = _choose(allowed, table, files)
    check_fit(files, reading)
    if reading.kind == "indices":
        _refuse_two_meanings(table, files)
        _refuse_changing_palettes(table, files)
        if "colors" in allowed:
            _refuse_other_colors(files, reading, allowed["colors"])
    return reading


def with_reading(table: Table, reading: LabelReading) -> Classes:
    """The classes of a table, whose label files are read so."""
    void = table.void[0] if table.void else VOID
    return Classes(table.names, table.drawn, void, reading)


def check_fit(files: Summaries, reading: LabelReading) -> None:
    """Refuses files that hold what a reading does not name, all in one sentence."""
    misfits = {path: text for path, file in files.items() if (text := strays(file, reading))}
    if not misfits:
        return
    named = "; ".join(f"{path} holds {text}" for path, text in list(misfits.items())[:MOST_FILES])
    more = f"; {len(misfits) - MOST_FILES} more files" if len(misfits) > MOST_FILES else ""
    advice = {
        "indices": 'map other values by "values" or "void" in the table of classes, or cut soft '
        "edges at a value",
        "gray levels": "cut soft edges at a value, or name the colors in the table of classes",
        "colors": 'add colors to the table of classes, or "colors_in_labels": false to it if the '
        "numbers in the files count and the palette is only to draw with",
    }[reading.kind]
    raise UserError(
        f"{len(misfits)} of {len(files)} label files do not fit the reading of labels by "
        f"{reading.kind}: {named}{more}; {expected(reading)}: mend the files, or {advice}"
    )


def _indices(table):
    void = {VOID} if table.void is None else {*table.void, VOID}
    if table.values is None:
        free = (value for value in range(VOID + 1) if value not in void)
        values = tuple(zip(free, range(len(table.names)), strict=False))
    else:
        values = table.values
    void -= {value for value, _ in values}
    return LabelReading("indices", (*values, *((value, VOID) for value in sorted(void))))


def _black_and_white(table):
    """Gray levels 0 and 255 as two classes, or None: a mask of an object."""
    if len(table.names) != 2 or {0, VOID} & set(table.void or ()):
        return None
    if {BLACK, WHITE} & set(table.void_colors):
        return None
    palette = table.palette or (BLACK, WHITE)
    if WHITE in palette:
        white = palette.index(WHITE)
    elif BLACK in palette:
        white = 1 - palette.index(BLACK)
    else:
        white = 1
    return ((0, 1 - white), (255, white))


def _choose(allowed, table, files):
    """The candidate that files of these kinds are read by."""
    if "channels" in allowed:
        in_color = any(file.kind == "color" for file in files.values())
        return allowed["channels" if in_color else "indices"]
    if "indices" not in allowed:
        return allowed["colors"]
    shown = {path: set(shown_colors(file)) for path, file in files.items()}
    everything = set().union(*shown.values())
    # The kind of most files, but for black or white ones, which any may be: others do not fit then.
    marked = [path for path, colors in shown.items() if colors not in ({BLACK}, {WHITE})]
    if "gray levels" in allowed:
        masks = [path for path in marked if shown[path] <= {BLACK, WHITE}]
        if 2 * len(masks) > len(marked) or not marked:
            return allowed["gray levels"]
    colored = {path: file for path, file in files.items() if _in_color(file)}
    if "colors" in allowed and 2 * len(colored.keys() & set(marked)) > len(marked):
        return allowed["colors"]
    if "colors" not in allowed and any(file.kind == "color" for file in colored.values()):
        raise _no_palette(colored, files)
    if "colors" in allowed:
        known = {color for color, _ in allowed["colors"].meaning}
        if all(file.kind == "1-bit" for file in files.values()) and {BLACK, WHITE} <= known:
            return allowed["colors"]
        # Gray files that hold white, if white is a class and the table does not call 255 void.
        if WHITE in everything <= known and VOID not in (table.void or ()):
            return allowed["colors"]
    return allowed["indices"]


def _in_color(file):
    """Whether colors say more than the numbers: RGB, and palettes but for a ramp of gray."""
    if file.kind == "palette":
        return any(file.shown.get(number) != (number,) * 3 for number in file.pixels)
    return file.kind == "color"


def _no_palette(colored, files):
    path, file = next((path, file) for path, file in colored.items() if file.kind == "color")
    color, count = next(iter(file.pixels.items()))
    return UserError(
        f"{len(colored)} of {len(files)} label files are in color, and the table of classes has no "
        f'palette: {path} holds the color {color} ({count} pixels); add "palette" to the table, a '
        'color per class, or "colors_in_labels": false if every channel, or the red one, holds the '
        "index of the class"
    )


def _refuse_two_meanings(table, files):
    """Two classes: 1 is the object in some masks, and white in the others; no rule fits both."""
    if len(table.names) != 2 or table.values is not None or 0 in (table.void or ()):
        return
    said = VOID in (table.void or ())  # then a 255 beside files with 1 is void, if 8 bits hold it
    ones = [path for path, file in files.items() if _holds(file, 1) and not _holds(file, VOID)]
    whites = [p for p, file in files.items() if _holds(file, VOID) and len(file.pixels) > 1]
    if said:
        ones = [path for path in ones if files[path].kind == "1-bit"]
        if any(_holds(file, 1) and file.kind != "1-bit" for file in files.values()):
            return
    if ones and whites and not any(_holds(files[path], 1) for path in whites):
        raise UserError(
            f"label files mark {table.names[1]} in two ways: {len(ones)} by 1, as {ones[0]}, "
            f"and {len(whites)} hold 255, as {whites[0]}: give all the same values, or say in the "
            'table of classes "values": {"0": 0, "1": 1, "255": 1}, or "void": 255 if white has no '
            "truth"
        )


def _holds(file, number):
    return number in file.pixels or (file.kind == "color" and (number,) * 3 in file.pixels)


def _refuse_changing_palettes(table, files):
    """Indices that show in other colors in other files are no classes, unless the table says so."""
    if table.colors_in_labels is False or table.values:
        return
    first = {}
    for path, file in files.items():
        if file.kind != "palette":
            continue
        for number in file.pixels:
            color = file.shown.get(number)
            where, before = first.setdefault(number, (path, color))
            if None not in (color, before) and color != before:
                raise UserError(
                    f"the palettes of label files differ: index {number} is {before} in {where} "
                    f'and {color} in {path}; add "palette" to the table of classes if the colors '
                    'count, or "colors_in_labels": false if the indices do'
                )


def _refuse_other_colors(files, indices, colors):
    """Palette files among gray ones: their colors must say what their indices say."""

    def differs(file):
        by_number, by_color = meaning_in(file, indices), meaning_in(file, colors)
        return any(by_number.get(number) != by_color.get(number) for number in file.pixels)

    others = [path for path, file in files.items() if file.kind == "palette" and differs(file)]
    if others:
        raise UserError(
            f"{len(others)} of {len(files)} label files have a palette that says something else "
            f"than their indices, as {others[0]}, and the other files hold indices: save all in "
            'one way, or add "colors_in_labels": false to the table of classes if indices count'
        )
