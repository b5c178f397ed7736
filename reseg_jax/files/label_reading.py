"""Label files read by a `LabelReading`: numbers or colors -> the labels 0..K-1 and VOID.

A file that holds what the reading does not name is refused whole: no file gets a rule of its own.

Dimension key: `H W` image axes.
"""

import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from reseg_jax.errors import UserError
from reseg_jax.files.atomic import read_file
from reseg_jax.files.colors import decode_colors
from reseg_jax.files.images import LabelPixels, decode_label_pixels
from reseg_jax.labels import VOID, Color, LabelReading

MOST_COUNTED = 1000  # colors that are counted: more than any table has
MOST_NAMED = 5  # of what does not fit, in a sentence

Key = int | Color
"""What a pixel holds: a number, or a color."""


class LabelSummary(NamedTuple):
    """What is decided from about a label file, without its pixels.

    Attributes:
      kind, shown: as in `LabelPixels`.
      pixels: {number or color: how many pixels hold it}, the most frequent first.
      size: (H, W).
    """

    kind: str
    shown: dict[int, Color]
    pixels: dict[Key, int]
    size: tuple[int, int]


def read_label(path: str | os.PathLike, reading: LabelReading, upright: bool = True) -> np.ndarray:
    """The label file at `path`.

    Args:
      path: the file.
      reading: what it holds.
      upright: turn it as its EXIF orientation says, if it has one.

    Returns:
      uint8 [H, W], 0..K-1 or VOID.

    Raises:
      UserError: it is missing, damaged, no label file, or holds what the reading does not name.
    """
    return decode_label(read_file(path), str(path), reading, upright)


def decode_label(data: bytes, name: str, reading: LabelReading, upright: bool = True) -> np.ndarray:
    """`read_label` of a file's content; `name` is for messages."""
    pixels = decode_label_pixels(data, name, upright)
    meaning = meaning_in(pixels, reading)
    if pixels.kind == "color":
        label, known = decode_colors(pixels.values, meaning.items())
    else:
        table, is_known = np.full(256, VOID, np.uint8), np.zeros(256, bool)
        for number, index in meaning.items():
            table[number], is_known[number] = index, True
        label, known = table[pixels.values], is_known[pixels.values]
    if not known.all():
        stray = strays(summarize(pixels), reading)
        raise UserError(f"{name} holds {stray}; {expected(reading)}")
    return label


def summarize(pixels: LabelPixels) -> LabelSummary:
    """Counts what a label file holds."""
    if pixels.kind == "color":
        image = Image.fromarray(pixels.values)
        counted = image.getcolors(image.width * image.height)
    else:
        counts = np.bincount(pixels.values.ravel(), minlength=256)
        counted = [(int(counts[number]), number) for number in np.flatnonzero(counts).tolist()]
    counted = sorted(counted, key=lambda pair: -pair[0])[:MOST_COUNTED]
    used = {key: count for count, key in counted}
    return LabelSummary(pixels.kind, pixels.shown, used, pixels.values.shape[:2])


def meaning_in(file: LabelPixels | LabelSummary, reading: LabelReading) -> dict[Key, int]:
    """{number (of "color": color) in this file: label} by the reading."""
    meaning = dict(reading.meaning)
    if reading.kind == "indices":
        if file.kind == "color":
            return {}  # a color is no number
        if file.kind == "1-bit" and 1 not in meaning and 255 in meaning:
            return meaning | {1: meaning[255]}  # of 1 bit both are the one that is set
        return meaning
    if reading.kind == "gray levels":
        meaning = {(level,) * 3: label for level, label in meaning.items()}
    if file.kind == "color":
        return meaning
    return {number: meaning[color] for number, color in file.shown.items() if color in meaning}


def strays(summary: LabelSummary, reading: LabelReading) -> str:
    """What a file holds that the reading does not name, with numbers of pixels; "" if nothing."""
    meaning = meaning_in(summary, reading)
    found = {key: count for key, count in summary.pixels.items() if key not in meaning}
    return _listed(found, summary, by_number=reading.kind == "indices")


def shown_colors(summary: LabelSummary) -> dict[Color | None, int]:
    """{color: pixels} that a file shows; None is what is transparent."""
    if summary.kind == "color":
        return summary.pixels
    found = {}
    for number, count in summary.pixels.items():
        color = summary.shown.get(number)
        found[color] = found.get(color, 0) + count
    return found


def expected(reading: LabelReading) -> str:
    """What a reading knows, for the end of a sentence."""
    what = {"indices": "values", "gray levels": "gray levels", "colors": "colors"}[reading.kind]
    keys = sorted(key for key, _ in reading.meaning)
    return f"the {what} of the classes and of void are {shorten(keys)}"


def shorten(keys: list[Key]) -> str:
    """Sorted numbers or colors for a sentence: "0 to 10, 255"; of many, the first ones."""
    runs = []
    for key in keys:
        if runs and isinstance(key, int) and key == runs[-1][-1] + 1:
            runs[-1].append(key)
        else:
            runs.append([key])
    texts = []
    for run in runs:
        texts += map(str, run) if len(run) < 3 else [f"{run[0]} to {run[-1]}"]
    return _first(texts)


def _listed(found, summary, by_number):
    """What was found, each with its number of pixels."""
    texts = []
    for key, count in found.items():
        if isinstance(key, int) and not by_number and key in summary.shown:
            key = summary.shown[key]
        if isinstance(key, tuple):
            what = f"the color {key}"
        elif by_number:
            what = f"the value {key}"
        else:
            what = f"the transparent palette index {key}"
        texts.append(f"{what} ({count} pixel{'s' if count > 1 else ''})")
    return _first(texts)


def _first(texts):
    more = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
