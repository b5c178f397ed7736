"""Augmented images: cases by hand, what image and label share, and determinism."""

import numpy as np
import pytest

from data.augment import Augmented, Cropped, jitter_color, random_scale
from data.batches import Batches, InMemory
from data.example import Example
from data.sources import per_map
from reseg_jax.labels import VOID


class Draws:
    """A generator that gives these numbers, whatever it is asked for."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def uniform(self, low, high):
        return self.numbers.pop(0)


def scene(index=0, size=(12, 16)):
    """Blocks of 4x4 pixels; the label numbers the blocks, red is 20 times it."""
    rng = np.random.default_rng(index)
    blocks = rng.permutation(size[0] * size[1] // 16).reshape(size[0] // 4, -1)
    label = np.kron(blocks, np.ones((4, 4))).astype(np.uint8)
    image = np.stack([20 * label, 255 - label, label], axis=-1).astype(np.uint8)
    return Example(f"{index}", image, label)


def rescale(factor, seed, example):
    return random_scale(np.random.default_rng(seed), example.image, example.label, factor, factor)


def equal(ours, theirs):
    return all(map(np.array_equal, ours, theirs))


def test_twice_as_large_is_cropped():
    example, places = scene(), set()
    large = np.kron(example.label, np.ones((2, 2), np.uint8))
    for seed in range(200):
        image, label = rescale(2, seed, example)
        found = [
            (top, left)
            for top in range(13)
            for left in range(17)
            if np.array_equal(large[top : top + 12, left : left + 16], label)
        ]
        assert len(found) == 1
        places.add(found[0])
        # Colors are interpolated between blocks, and as they were within them.
        within = np.ones(label.shape, bool)
        within[1:] &= label[1:] == label[:-1]
        within[:-1] &= label[1:] == label[:-1]
        within[:, 1:] &= label[:, 1:] == label[:, :-1]
        within[:, :-1] &= label[:, 1:] == label[:, :-1]
        within[[0, -1]] = within[:, [0, -1]] = False
        assert within.sum() > 50
        np.testing.assert_array_equal(image[within, 0], 20 * label[within])
    assert {top for top, _ in places} == set(range(13))
    assert {left for _, left in places} == set(range(17))


def test_half_as_large_stands_in_a_void_frame():
    example, places = scene(), set()
    for seed in range(100):
        image, label = rescale(0.5, seed, example)
        rows, columns = (np.flatnonzero((label != VOID).any(axis)) for axis in (1, 0))
        filled = np.s_[rows[0] : rows[0] + 6, columns[0] : columns[0] + 8]
        np.testing.assert_array_equal(label[filled], example.label[1::2, 1::2])
        assert (label == VOID).sum() == label.size - 6 * 8
        assert image.sum() == image[filled].sum() > 0
        assert (image[filled][..., 1] > 200).all()
        places.add((rows[0], columns[0]))
    assert {top for top, _ in places} == set(range(7))
    assert {left for _, left in places} == set(range(9))


@pytest.mark.parametrize("factor", [1, 1.04, 0.96, 0.001, 30])
def test_sizes_stay_and_no_label_is_invented(factor):
    example = scene()
    for seed in range(5):
        image, label = rescale(factor, seed, example)
        assert (image.shape, label.shape) == ((12, 16, 3), (12, 16))
        assert image.dtype == label.dtype == np.uint8
        assert np.isin(label, [*np.unique(example.label), VOID]).all()
    if factor == 1:
        assert equal((image, label), example[1:])


def test_halving_is_as_likely_as_doubling():
    example = scene(size=(16, 16))
    generator = np.random.default_rng(0)
    enlarged = 0
    for _ in range(400):
        _, label = random_scale(generator, example.image, example.label, 0.25, 4)
        enlarged += (label != VOID).all()
    # 200 expected and 5 that are rounded to 1, deviation 10; 320 were the factor uniform.
    assert 155 < enlarged < 255


# The gray of (200, 100, 50) is 0.299 R + 0.587 G + 0.114 B = 124.2 (Rec. 601).
@pytest.mark.parametrize(
    ("factors", "color"),
    [
        ((1, 1, 1), (200, 100, 50)),
        ((0.5, 1, 1), (100, 50, 25)),
        ((1.5, 1, 1), (255, 150, 75)),
        ((1, 0.5, 1), (162, 112, 87)),
        ((1, 1, 0), (124, 124, 124)),
        ((1, 1, 0.5), (162, 112, 87)),
    ],
)
def test_colors_by_hand(factors, color):
    image = np.full((3, 4, 3), (200, 100, 50), np.uint8)
    found = jitter_color(Draws(*factors), image, 0.5)
    np.testing.assert_array_equal(found, np.broadcast_to(np.uint8(color), image.shape))


def test_contrast_is_about_the_mean_and_saturation_about_the_pixel():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = 200  # mean gray 100
    lower = jitter_color(Draws(1, 0.5, 1), image, 0.5)
    assert (lower[0] == 150).all()
    assert (lower[1] == 50).all()
    np.testing.assert_array_equal(jitter_color(Draws(1, 1, 0.5), image, 0.5), image)


def test_factors_of_colors_keep_to_the_strength():
    gray = np.full((2, 2, 3), 100, np.uint8)  # only brightness changes it
    generator = np.random.default_rng(0)
    values = [jitter_color(generator, gray, 0.3)[0, 0, 0] for _ in range(200)]
    assert 70 <= min(values) < 75
    assert 125 < max(values) <= 130


def augmented(count=6, **options):
    options = {"seed": 3, "scale": (0.5, 2.0), "color": 0.4} | options
    return Augmented(InMemory([scene(index) for index in range(count)]), **options)


def test_an_augmented_image_is_a_function_of_seed_epoch_and_index():
    one, other = augmented(), augmented()
    places = [(index, epoch) for index in range(3) for epoch in range(3)]
    found = {place: one.get(*place) for place in places}
    for index, epoch in reversed(places):
        assert equal(other.get(index, epoch), found[index, epoch])
        assert not equal(augmented(seed=4).get(index, epoch), found[index, epoch])
        assert not equal(found[index, (epoch + 1) % 3], found[index, epoch])
    same = Augmented(InMemory([scene(0)] * 2), 3, (0.5, 2.0))
    assert not equal(same.get(0, 0), same.get(1, 0))


def test_mirroring_comes_after_augmentation():
    image, label = augmented().get(1, 5)
    assert equal(augmented().get(1, 5, flipped=True), (image[:, ::-1], label[:, ::-1]))


def test_copies_come_in_turn_and_the_first_is_the_example():
    of, endless = augmented(num_augmented_copies=3), augmented()
    for index in range(3):
        copies = [of.get(index, epoch) for epoch in range(7)]
        for epoch, copy in enumerate(copies):
            assert equal(copy, copies[epoch % 3])
        assert equal(copies[0], scene(index)[1:])
        for epoch in (1, 2):
            assert equal(copies[epoch], endless.get(index, epoch))


@pytest.mark.parametrize("copies", [0, 40])
def test_flip_mirrors_half_of_the_images(copies):
    straight, mirrored = augmented(2), augmented(2, flip=True, num_augmented_copies=copies)
    ways = []
    for index in range(2):
        for epoch in range(1, 40):
            image, label = straight.get(index, epoch)
            ways.append(equal(mirrored.get(index, epoch), (image[:, ::-1], label[:, ::-1])))
            if not ways[-1]:
                assert equal(mirrored.get(index, epoch), (image, label))
    assert 24 < sum(ways) < 54  # 39 expected of 78, deviation 4.4


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
    inner = Cropped(augmented(scale=(1.0, 1.0)), 0, 0.5)
    image, other = (inner.get(0, epoch)[0] for epoch in (0, 1))
    assert image.shape == (6, 8, 3)
    assert not np.array_equal(image, other)  # the source gets the epoch, too


def test_colors_leave_labels_as_they_are_and_defaults_change_nothing():
    of, example = augmented(scale=(1.0, 1.0)), scene(2)
    image, label = of.get(2, 0)
    np.testing.assert_array_equal(label, example.label)
    assert not np.array_equal(image, example.image)
    assert equal(augmented(scale=(1.0, 1.0), color=0.0).get(2, 0), example[1:])
    assert equal(augmented().get(2), example[1:])  # no epoch
    assert augmented().shape(2) == (example.image.shape, example.label.shape)


def test_examples_are_left_untouched():
    of = augmented()
    for epoch in range(3):
        of.get(0, epoch, flipped=True)
    assert equal(of.source.examples[0][1:], scene(0)[1:])


def test_batches_change_from_epoch_to_epoch_and_are_the_same_again():
    batches = [Batches(augmented(), 2, seed=7, flip=True) for _ in range(2)]
    one, other = ([of.batch(step) for step in range(6)] for of in batches)
    for ours, theirs in zip(one, other, strict=True):
        assert equal(ours.values(), theirs.values())
        assert ours["image"].shape == (2, 12, 16, 3)
    seen = [
        {image.tobytes() for batch in one[at : at + 3] for image in batch["image"]} for at in (0, 3)
    ]
    assert len(seen[0] | seen[1]) == 12
