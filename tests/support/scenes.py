"""Images whose labels can be read off their colors."""

import numpy as np

from data.example import Example


def blocks(index=0, size=(12, 16)):
    """Blocks of 4x4 pixels; the label numbers the blocks, red is 20 times it."""
    rng = np.random.default_rng(index)
    blocks = rng.permutation(size[0] * size[1] // 16).reshape(size[0] // 4, -1)
    label = np.kron(blocks, np.ones((4, 4))).astype(np.uint8)
    image = np.stack([20 * label, 255 - label, label], axis=-1).astype(np.uint8)
    return Example(f"{index}", image, label)
