"""Label images whose colors name the class."""

from collections.abc import Iterable

import numpy as np

from reseg_jax.labels import VOID, Color


def decode_colors(
    colors: np.ndarray, table: Iterable[tuple[Color, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """The labels that colors stand for.

    Args:
      colors: uint8 [H, W, 3].
      table: (color, label) pairs.

    Returns:
      (label uint8 [H, W], known bool [H, W]); if a pixel has no color of the table, `known` is
      False and the label VOID.
    """
    numbers = _number(colors)
    label = np.full(numbers.shape, VOID, np.uint8)
    known = np.zeros(numbers.shape, bool)
    for color, index in table:
        found = numbers == _number(np.array(color, np.uint8))
        label[found] = index
        known |= found
    return label, known


def _number(colors):
    """Colors [..., 3] as one number each: a third of the comparisons."""
    red, green, blue = np.moveaxis(colors.astype(np.uint32), -1, 0)
    return (red * 256 + green) * 256 + blue
