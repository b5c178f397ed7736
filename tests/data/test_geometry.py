"""Scaled, turned, moved and deformed images: by hand, and what image and label share."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from data.geometry import affine_places, elastic_displacements, random_scale, random_warp
from data.geometry import taken_from as take
from reseg_jax.labels import VOID
from tests.support.scenes import blocks


def rescale(factor, seed, example):
    return random_scale(np.random.default_rng(seed), example.image, example.label, factor, factor)


def equal(ours, theirs):
    return all(map(np.array_equal, ours, theirs))


def test_twice_as_large_is_cropped():
    example, places = blocks(), set()
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
    example, places = blocks(), set()
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
    example = blocks()
    for seed in range(5):
        image, label = rescale(factor, seed, example)
        assert (image.shape, label.shape) == ((12, 16, 3), (12, 16))
        assert image.dtype == label.dtype == np.uint8
        assert np.isin(label, [*np.unique(example.label), VOID]).all()
    if factor == 1:
        assert equal((image, label), example[1:])


def test_halving_is_as_likely_as_doubling():
    example = blocks(size=(16, 16))
    generator = np.random.default_rng(0)
    enlarged = 0
    for _ in range(400):
        _, label = random_scale(generator, example.image, example.label, 0.25, 4)
        enlarged += (label != VOID).all()
    # 200 expected and 5 that are rounded to 1, deviation 10; 320 were the factor uniform.
    assert 155 < enlarged < 255


def numbered(height, width):
    """An image whose red and a label whose values number the pixels."""
    label = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    return np.stack([label, label, 255 - label], axis=-1), label


def warped(size, angle=0.0, stretch=1.0, move=(0, 0)):
    """(image, label) of a numbered one."""
    return take(affine_places(size, angle, stretch, move), *numbered(*size))


def test_nothing_to_do_leaves_everything():
    assert equal(warped((5, 8)), numbered(5, 8))
    generator = np.random.default_rng(0)
    assert equal(random_warp(generator, *numbered(5, 8)), numbered(5, 8))


def test_moved_by_hand():
    image, label = warped((5, 8), move=(2, -3))
    expected = np.full((5, 8), VOID, np.uint8)
    expected[2:, :5] = numbered(5, 8)[1][:3, 3:]
    np.testing.assert_array_equal(label, expected)
    np.testing.assert_array_equal(image[..., 0], np.where(expected == VOID, 0, expected))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_counterclockwise(quarters):
    image, label = warped((7, 7), angle=quarters * np.pi / 2)
    within = np.s_[1:-1, 1:-1]  # the border may fall beyond the image by a rounding error
    for found, before in zip((image, label), numbered(7, 7), strict=True):
        np.testing.assert_array_equal(found[within], np.rot90(before, quarters)[within])


def test_twice_as_wide_and_half_as_high_by_hand():
    """Rows 2 (i - 2) + 2, columns (j - 3) / 2 + 3 of 5 x 7 pixels; halves lie between two."""
    image, label = warped((5, 7), stretch=2.0)
    red = numbered(5, 7)[0][..., 0].astype(float)
    for row, source in ((1, 0), (2, 2), (3, 4)):
        columns = (np.arange(7) - 3) / 2 + 3
        expected = np.interp(columns, np.arange(7), red[source])
        assert np.abs(image[row, :, 0] - expected).max() <= 0.5
        assert np.isin(label[row], red[source]).all()
    assert (label[[0, 4]] == VOID).all() and not image[[0, 4]].any()


def test_displacements_are_bicubic_between_nine_gaussian_nodes():
    size = (11, 21)
    nodes = np.random.default_rng(3).normal(0, 10, (2, 3, 3))
    found = elastic_displacements(np.random.default_rng(3), size, 10)
    np.testing.assert_allclose(found[:, ::5, ::10], nodes, atol=1e-9)
    rows, columns = (np.linspace(0, 2, side) for side in size)
    for each, expected in zip(found, nodes, strict=True):
        # Mirrored at its ends, a spline is flat there.
        lines = CubicSpline(range(3), expected, axis=0, bc_type="clamped")(rows)
        both = CubicSpline(range(3), lines, axis=1, bc_type="clamped")(columns)
        np.testing.assert_allclose(each, both, atol=1e-9)


def test_displacements_have_the_deviation():
    generator = np.random.default_rng(0)
    found = [elastic_displacements(generator, (5, 7), 10.0)[:, 2, 3] for _ in range(500)]
    assert np.std(found) == pytest.approx(10, abs=1)  # 1000 numbers: deviation 0.22


EVERYTHING = {"rotate": 30.0, "aspect": 1.3, "translate": 5, "elastic": 4.0}


@pytest.mark.parametrize(
    "options", [EVERYTHING, *({name: value} for name, value in EVERYTHING.items())], ids=str
)
def test_a_checkerboard_s_fields_stay_on_their_labels(options):
    """A pixel of a field's pure color has its label, and only what is black is void."""
    label = np.kron(np.indices((4, 5)).sum(axis=0) % 2, np.ones((12, 12))).astype(np.uint8)
    image = np.where(label, 200, 40).astype(np.uint8)[..., None].repeat(3, axis=-1)
    changed = 0
    for seed in range(10):
        found, labels = random_warp(np.random.default_rng(seed), image, label, **options)
        assert (found.shape, labels.shape) == (image.shape, label.shape)
        assert found.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1, VOID}
        changed += not equal((found, labels), (image, label))
        pure = [(found == color).all(axis=-1) for color in (40, 200, 0)]
        for pixels, expected in zip(pure, (0, 1, VOID), strict=True):
            assert (labels[pixels] == expected).all()
        np.testing.assert_array_equal(pure[2], labels == VOID)
        assert sum(pixels.sum() for pixels in pure) > label.size / 2
    assert changed > 8  # a move may be none


class Highest:
    """A generator that gives the highest number of each range."""

    def uniform(self, low, high):
        assert low == -high
        return high

    def integers(self, low, high, size, endpoint):
        assert low == -high and endpoint
        return np.full(size, high)


def test_what_is_drawn_keeps_to_its_range():
    size = (9, 9)
    for options, expected in (
        ({"rotate": 90.0}, {"angle": np.pi / 2}),
        ({"aspect": 1.44}, {"stretch": 1.2}),
        ({"translate": 2}, {"move": (2, 2)}),
    ):
        assert equal(random_warp(Highest(), *numbered(*size), **options), warped(size, **expected))
    generator = np.random.default_rng(0)
    moved = {random_warp(generator, *numbered(*size), translate=1)[1][4, 4] for _ in range(200)}
    assert moved == {numbered(*size)[1][row, column] for row in (3, 4, 5) for column in (3, 4, 5)}
