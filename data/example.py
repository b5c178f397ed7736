"""What every dataset is a list of."""

from typing import NamedTuple

import numpy as np

SPLITS = ("train", "val", "test")


class Example(NamedTuple):
    """A decoded image with its truth.

    Attributes:
      name: unique within its split.
      image: uint8 [H, W, 3], RGB.
      label: uint8 [H, W], 0..K-1 and `reseg_jax.labels.VOID`.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
