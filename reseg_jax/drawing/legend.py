"""A legend: which color means what, as a strip of a given width."""

import numpy as np
from PIL import Image, ImageDraw

from reseg_jax.drawing import fonts

BACKGROUND = (255, 255, 255)
INK = (32, 32, 32)
OUTLINE = (140, 140, 140)  # so that a white swatch shows on the background
SWATCH = 12
ROW = 20
MARGIN = 8
SPACE = 6  # between a swatch and its name
GAP = 14  # between one entry's name and the next swatch


def draw_legend(entries: list[tuple[str, tuple[int, int, int]]], width: int) -> np.ndarray:
    """A legend with as many entries per row as fit.

    Args:
      entries: (name, (red, green, blue)) of each class, 0..255.
      width: of the strip in pixels.

    Returns:
      uint8 [h, w, 3]; w is `width`, or that of the longest entry if it is more.
    """
    texts = [fonts.fitting(name) for name, _ in entries]
    lengths = [SWATCH + SPACE + int(np.ceil(font.getlength(text))) for font, text in texts]
    width = max([width, *(2 * MARGIN + length for length in lengths)])
    places, left, top = [], MARGIN, MARGIN
    for length in lengths:
        if left + length > width - MARGIN and left > MARGIN:
            left, top = MARGIN, top + ROW
        places.append((left, top))
        left += length + GAP
    strip = Image.new("RGB", (width, top + ROW if entries else 0), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for (_, color), (font, text), (left, top) in zip(entries, texts, places, strict=True):
        swatch = (left, top, left + SWATCH - 1, top + SWATCH - 1)
        draw.rectangle(swatch, fill=tuple(color), outline=OUTLINE)
        draw.text((left + SWATCH + SPACE, top + SWATCH / 2), text, fill=INK, font=font, anchor="lm")
    return np.array(strip)


def draw_title(text: str, width: int) -> np.ndarray:
    """One line of text.

    Args:
      text: what to write; what does not fit is cut off.
      width: of the strip in pixels.

    Returns:
      uint8 [h, width, 3].
    """
    strip = Image.new("RGB", (width, ROW), BACKGROUND)
    font, text = fonts.fitting(text)
    ImageDraw.Draw(strip).text((1, ROW / 2), text, fill=INK, font=font, anchor="lm")
    return np.array(strip)
