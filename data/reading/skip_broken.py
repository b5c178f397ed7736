"""Examples of old datasets in which some files are broken: these are reported and left out."""

import sys
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from data.example import Example
from data.reading.decode import decode_all
from data.reading.layout import Pair
from reseg_jax.errors import UserError

BLACK = 16
"""Brightest value of a frame that shows nothing: black in video (ITU-R BT.601)."""


def read_skipping_broken(
    title: str,
    pairs: Sequence[Pair],
    read: Callable[[Pair], tuple[np.ndarray, np.ndarray]],
    counted: str,
) -> list[Example]:
    """The examples of those `pairs` that can be used, in order.

    Every pair that is left out is reported in a line on stderr, and in a last one how many remain.

    Args:
      title: the beginning of these lines.
      pairs: image and label files.
      read: pair -> (image, label); a UserError is the reason to leave the pair out.
      counted: the end of the last line: of how many images they are.

    Raises:
      UserError: no pair can be used.
    """

    def attempt(pair):
        try:
            return Example(pair.name, *read(pair)), None
        except UserError as error:
            return None, error

    results = decode_all(attempt, pairs)
    for pair, (_, error) in zip(pairs, results, strict=True):
        if error:
            print(f"{title}: {pair.name} is left out: {error}", file=sys.stderr)
    examples = [example for example, _ in results if example]
    print(f"{title}: {len(examples)} images {counted}", file=sys.stderr)
    if not examples:
        raise UserError(f"{title} has no image that can be used, for the reasons above")
    return examples


def check_not_black(image: np.ndarray, path) -> None:
    """Refuses a black frame.

    Args:
      image: uint8 [H, W, 3].
      path: its file, for the message.

    Raises:
      UserError: no value of the image reaches `BLACK`.
    """
    if image.max() < BLACK:
        raise UserError(f"{path} is black: copy or download it again")


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image at another size: bicubic, averaging if that is smaller.

    Args:
      image: uint8 [H, W, 3].
      size: (height, width).

    Returns:
      uint8 [height, width, 3].
    """
    if image.shape[:2] == size:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
