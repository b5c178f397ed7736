"""Crops: the same pixels in every map, anywhere, and the same again."""

import numpy as np
import pytest

from data.augment import Augmented, random_changes
from data.batches import InMemory
from data.crop import Cropped
from data.example import Example
from data.sources import per_map


class Mapped:
    """A source of a label that numbers the pixels, and of maps that say which pixels a cell has.

    A last cell that the image fills in part is there if `whole` is False, as VGG's pooling has it.
    """

    def __init__(self, size, *strides, whole=True):
        self.size, self.strides, self.whole = size, strides, whole

    def __len__(self):
        return 4

    def get(self, index, epoch=None, flipped=False):
        label = np.arange(np.prod(self.size)).reshape(self.size)
        height, width = self.size
        maps = {}
        for s in self.strides:
            rows, columns = (height // s * s, width // s * s) if self.whole else self.size
            maps[f"stride {s}"] = label[:rows:s, :columns:s][..., None]
        inputs = maps if len(maps) > 1 else maps[f"stride {s}"]
        return inputs, label[:, ::-1] if flipped else label

    def shape(self, index):
        inputs, label = self.get(index)
        return per_map(np.shape, inputs), label.shape


@pytest.mark.parametrize(
    ("size", "strides", "whole"),
    [((37, 50), (4, 2), True), ((37, 50), (4, 2), False), ((12, 16), (1,), True)],
)
@pytest.mark.parametrize("epoch", [None, 0, 3])
def test_a_crop_has_the_same_pixels_in_every_map(size, strides, whole, epoch):
    of = Cropped(Mapped(size, *strides, whole=whole), 5, 0.6)
    inputs, label = of.get(1, epoch)
    maps = list(inputs.values()) if isinstance(inputs, dict) else [inputs]
    coarse = size[0] // strides[0], size[1] // strides[0]
    assert label.shape == tuple(round(0.6 * cells) * strides[0] for cells in coarse)
    for one, stride in zip(maps, strides, strict=True):
        np.testing.assert_array_equal(one[..., 0], label[::stride, ::stride])
    assert (label[0, 0] == 0) == (epoch is None)
    assert of.shape(1) == (per_map(np.shape, inputs), label.shape)


def test_a_crop_may_lie_anywhere_and_is_the_same_again():
    def starts(**changes):
        of = Cropped(**{"source": Mapped((12, 16), 4), "seed": 0, "share": 0.5} | changes)
        return [of.get(index, epoch)[1][0, 0] for epoch in range(40) for index in range(2)]

    places = [top * 16 + left for top in (0, 4) for left in (0, 4, 8)]  # 2 x 2 of 3 x 4 cells
    assert set(starts()) == set(places)
    assert starts() == starts() != starts(seed=1)
    gray = Example("gray", np.full((12, 16, 3), 128, np.uint8), np.zeros((12, 16), np.uint8))
    inner = Cropped(Augmented(InMemory([gray]), 3, random_changes(color=0.4)), 0, 0.5)
    image, other = (inner.get(0, epoch)[0] for epoch in (0, 1))
    assert image.shape == (6, 8, 3)
    assert not np.array_equal(image, other)  # the source gets the epoch, too
