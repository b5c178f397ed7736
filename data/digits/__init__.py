"""Handwritten digits, 8x8 pixels, one class per image: what a classifier is tried on.

They come with scikit-learn, which `load` imports when it is called.
"""

import numpy as np

from data.example import Example
from reseg_jax.errors import UserError, first_line
from reseg_jax.labels import Classes

# A ten-colored cycle, our choice: only pictures show it.
_PALETTE = (
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
)
CLASSES = Classes(names=tuple("0123456789"), palette=_PALETTE)

SIZES = {"train": 1257, "val": 270, "test": 270}
"""Images of each split: 70, 15 and 15 percent of 1797, our choice."""
SEED = 2015  # the year of the ReNet paper

_WHITE = 16  # the largest gray level of the files


def load(split: str, data_dir: str | None = None) -> list[Example]:
    """The digits of a split; every pixel of an image has the class of the image.

    Args:
      split: "train", "val" or "test".
      data_dir: not needed.

    Raises:
      UserError: scikit-learn cannot be imported.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError(
            "dataset digits comes with scikit-learn, which cannot be imported "
            f"({first_line(error)}): pip install scikit-learn"
        ) from error
    digits = load_digits()
    return [
        Example(f"digit_{index:04}", _gray(digits.images[index]), _filled(digits.target[index]))
        for index in indices(split)
    ]


def indices(split: str) -> np.ndarray:
    """Which of the 1797 images, in scikit-learn's order, a split has, in ascending order."""
    # RandomState's numbers are the same in every version of NumPy (NEP 19).
    order = np.random.RandomState(SEED).permutation(sum(SIZES.values()))
    ends = np.cumsum(list(SIZES.values()))
    return np.sort(np.split(order, ends[:-1])[list(SIZES).index(split)])


def _gray(levels):
    """float [8, 8], 0..16 -> uint8 RGB [8, 8, 3], 0..255."""
    gray = np.uint8(levels.astype(np.int64) * 255 // _WHITE)
    return np.repeat(gray[..., None], 3, axis=-1)


def _filled(digit):
    return np.full((8, 8), digit, np.uint8)
