"""What every dataset is a list of."""

from typing import NamedTuple

import numpy as np

SPLITS = ("train", "val", "test")


class Example(NamedTuple):
    """A decoded image with its truth."""

    name: str  # unique within its split
    image: np.ndarray  # uint8 [H, W, 3], RGB
    label: np.ndarray  # uint8 [H, W], 0..K-1 and reseg_jax.config.VOID
