"""Pictures of labels: in color, over the photo, and beside the truth.

Labels are uint8 [H, W] of 0..K-1 and VOID, which is drawn black: no label in the truth, and what
a network that was trained on void may predict. Pictures are uint8 [h, w, 3].
"""

import colorsys
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from reseg_jax.drawing.legend import BACKGROUND, MARGIN, draw_legend, draw_title
from reseg_jax.files.images import write_png
from reseg_jax.labels import VOID, Classes

BLACK = (0, 0, 0)  # void
WRONG = (230, 25, 25)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what Pillow converts to gray with
_ROWS = 256  # that are blended at a time
PANEL_WIDTH = 320  # least width of a panel: its title and a row of the legend fit


def default_classes(num_classes: int) -> Classes:
    """Names and colors for classes that have none: hues a golden angle apart.

    Args:
      num_classes: K.

    Returns:
      Classes "class 0", "class 1", ...; no color is near black, which is void's.
    """
    golden = (5**0.5 - 1) / 2
    palette = []
    for index in range(num_classes):
        value = (0.95, 0.7)[index % 2]
        color = colorsys.hsv_to_rgb(index * golden % 1, 0.75, value)
        palette.append(tuple(round(255 * channel) for channel in color))
    return Classes(tuple(f"class {index}" for index in range(num_classes)), tuple(palette))


def colorize(labels: np.ndarray, classes: Classes) -> np.ndarray:
    """Labels in the classes' colors, void in black.

    Args:
      labels: uint8 [H, W].
      classes: their palette.

    Returns:
      uint8 [H, W, 3].
    """
    table = np.zeros((VOID + 1, 3), np.uint8)
    table[: len(classes.palette)] = classes.palette
    return table[labels]


def gray(shares: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1, [H, W], as gray levels uint8 [H, W]: 0 is black, 1 white."""
    return np.rint(255 * shares).astype(np.uint8)


def blend(
    image: np.ndarray, labels: np.ndarray, classes: Classes, opacity: float = 0.5
) -> np.ndarray:
    """The photo tinted with the colors of its labels, and darkened if they are void.

    Args:
      image: uint8 [H, W, 3].
      labels: uint8 [H, W].
      classes: their palette.
      opacity: share of the label's color, from 0 to 1.

    Returns:
      uint8 [H, W, 3].
    """
    blended = np.empty_like(image)
    for top in range(0, len(image), _ROWS):  # as floats a large photo would take gigabytes
        rows = slice(top, top + _ROWS)
        tint = opacity * colorize(labels[rows], classes)
        blended[rows] = np.rint((1 - opacity) * image[rows] + tint)
    return blended


def overlay(
    image: np.ndarray, labels: np.ndarray, classes: Classes, opacity: float = 0.5
) -> np.ndarray:
    """`blend` with a legend of the classes in it, at the photo's own size.

    The legend lies over the bottom, letting a little of the photo through. On a photo so small
    that it would cover more than a quarter, or that its longest name would not fit, the legend
    is put below instead, which makes the picture higher and, if necessary, wider.

    Args:
      image: uint8 [H, W, 3].
      labels: uint8 [H, W].
      classes: their names and palette.
      opacity: as for `blend`.

    Returns:
      uint8 [h, w, 3] with h >= H and w >= W.
    """
    tinted = blend(image, labels, classes, opacity)
    legend = draw_legend(_entries(classes, labels), image.shape[1])
    height, width = legend.shape[:2]
    if 4 * height > image.shape[0] or width > image.shape[1]:
        return _stack([tinted, legend])
    bottom = tinted[image.shape[0] - height :]
    bottom[:] = (0.2 * bottom + 0.8 * legend).astype(np.uint8)
    return tinted


def errors(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The errors of a prediction: red on the photo in muted gray; void is black.

    Args:
      image: uint8 [H, W, 3].
      truth: uint8 [H, W].
      prediction: uint8 [H, W].

    Returns:
      uint8 [H, W, 3].
    """
    gray = 64 + 0.5 * (image @ np.array(LUMA))  # 64..191: apart from black and from red
    picture = np.repeat(gray[..., None], 3, axis=2).astype(np.uint8)
    picture[prediction != truth] = WRONG
    picture[truth == VOID] = BLACK
    return picture


def four_panel(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, classes: Classes
) -> np.ndarray:
    """Photo and truth, prediction and errors under it, with titles and a legend.

    Small photos are enlarged by a whole factor, each pixel a square, to a legible size.

    Args:
      image: uint8 [H, W, 3].
      truth: uint8 [H, W].
      prediction: uint8 [H, W].
      classes: their names and palette.

    Returns:
      uint8 [h, w, 3].
    """
    factor = -(-PANEL_WIDTH // image.shape[1])
    labeled = truth != VOID
    wrong = (prediction != truth)[labeled]
    share = f"{100 * wrong.mean():.1f} %" if wrong.size else "none"
    panels = [
        ("image", image),
        ("truth", colorize(truth, classes)),
        ("prediction", colorize(prediction, classes)),
        (f"wrong pixels: {share}", errors(image, truth, prediction)),
    ]
    framed = [_frame(title, _enlarge(panel, factor)) for title, panel in panels]
    rows = [np.concatenate(framed[i : i + 2], axis=1) for i in (0, 2)]
    legend = draw_legend(_entries(classes, truth, prediction), rows[0].shape[1])
    return _stack([*rows, legend])


def write_panels(
    folder: str | os.PathLike,
    examples: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
    classes: Classes,
) -> list[pathlib.Path]:
    """Writes `four_panel` of every example as `folder/<name>_panels.png`.

    Args:
      folder: made if it is missing.
      examples: (name, image, truth, prediction), the last three as for `four_panel`.
      classes: their names and palette.

    Returns:
      The paths written.

    Raises:
      UserError: a file cannot be written.
    """
    paths = []
    for name, image, truth, prediction in examples:
        path = pathlib.Path(folder) / f"{name}_panels.png"
        write_png(path, four_panel(image, truth, prediction, classes))
        paths.append(path)
    return paths


def _entries(classes, *labels):
    """Legend entries of the classes that occur, in label order, void last."""
    present = set().union(*(np.unique(array).tolist() for array in labels))
    pairs = zip(classes.names, classes.palette, strict=True)
    entries = [pair for index, pair in enumerate(pairs) if index in present]
    return entries + [("void", BLACK)] * (VOID in present)


def _enlarge(picture, factor):
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _frame(title, picture):
    """A picture with a title above and a border around."""
    titled = np.concatenate([draw_title(title, picture.shape[1]), picture])
    padding = ((0, MARGIN), (MARGIN, MARGIN), (0, 0))
    return np.pad(titled, padding, constant_values=BACKGROUND[0])


def _stack(pictures):
    """Pictures under one another, left-aligned on the background."""
    width = max(picture.shape[1] for picture in pictures)
    filled = [
        np.pad(
            picture,
            ((0, 0), (0, width - picture.shape[1]), (0, 0)),
            constant_values=BACKGROUND[0],
        )
        for picture in pictures
    ]
    return np.concatenate(filled)
