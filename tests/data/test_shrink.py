"""Smaller examples: means of pixels, and labels that were there."""

import numpy as np

from data.example import Example
from data.shrink import shrunk


def test_pixels_are_means_and_labels_are_some_pixels():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    label = np.arange(24, dtype=np.uint8).reshape(4, 6)
    found = shrunk(Example("a", image, label), 2)
    blocks = image.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
    assert np.abs(found.image - blocks).max() <= 0.5
    assert found.label.shape == (2, 3)
    for (i, j), value in np.ndenumerate(found.label):
        assert value in label[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]


def test_odd_sides_are_rounded_up():
    example = Example("a", np.zeros((5, 3, 3), np.uint8), np.full((5, 3), 7, np.uint8))
    found = shrunk(example, 2)
    assert (found.image.shape, found.label.shape) == ((3, 2, 3), (3, 2))
    assert (found.label == 7).all()
    assert shrunk(example, 1) is example
