"""Examples of old datasets in which some files are broken: those are told by name and left out."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from data.example import Example
from data.reading.layout import Pair
from reseg_jax.errors import UserError

BLACK = 16
"""Brightest value of a frame that shows nothing: black in video (ITU-R BT.601)."""


def read_usable(
    title: str, pairs: Sequence[Pair], read: Callable[[Pair], tuple], counted: str
) -> list[Example]:
    """The examples of those `pairs` that can be used, in order.

    read:    (pair) -> (image, label); a UserError is the reason to leave the pair out, which is
             told on a line of stderr.
    counted: the end of the last line there, which says how many are left: of how many they are.
    A UserError where none is.
    """

    def attempt(pair):
        try:
            return Example(pair.name, *read(pair)), None
        except UserError as error:
            return None, error

    # Decoding releases the interpreter's lock: threads do in parallel what costs the time.
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, pairs))
    for pair, (_, error) in zip(pairs, results, strict=True):
        if error:
            print(f"{title}: {pair.name} is left out: {error}", file=sys.stderr)
    examples = [example for example, _ in results if example]
    print(f"{title}: {len(examples)} images {counted}", file=sys.stderr)
    if not examples:
        raise UserError(f"{title} has no image that can be used, for the reasons above")
    return examples


def refuse_black(image: np.ndarray, path) -> None:
    """A UserError where a frame [H, W, 3] is black."""
    if image.max() < BLACK:
        raise UserError(f"{path} is black: copy or download it again")


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [H, W, 3] at another (height, width), averaging where that is smaller."""
    if image.shape[:2] == size:
        return image
    picture = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.array(picture)
