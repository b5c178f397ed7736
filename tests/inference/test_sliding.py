"""Tiles give what the whole image gives, if they can: against filters, hand and whole networks."""

import itertools

import jax
import numpy as np
import pytest
from scipy import ndimage

from reseg_jax.errors import UserError
from reseg_jax.inference import sliding
from reseg_jax.inference.ensemble import Views, probabilities, side_by_side
from reseg_jax.networks.unet import UNetConfig
from tests.support.networks import images_of, random_variables

UNET = UNetConfig(num_classes=3, channels=(2, 3))  # its margin is 8, its stride 2
TILES = {"tile": 64, "overlap": 32}


def opinionated(config, seed=0):
    """Variables of a network whose probabilities differ from pixel to pixel."""
    return jax.tree.map(lambda leaf: 1.5 * leaf, random_variables(config, seed))


def tiled(predict, images, **tiles):
    return np.concatenate(list(sliding.strips(predict, images, **tiles)), axis=-3)


def as_numbers(images):
    return images.astype(np.float32)


@pytest.mark.parametrize("size", [(30, 70), (17, 16), (64, 16), (16, 65), (33, 49)])
@pytest.mark.parametrize("overlap", [0, 4, 8, None])
def test_what_sees_one_pixel_only_is_unchanged(size, overlap):
    """Every pixel comes back to its place, and its weights add up to 1."""
    images = images_of(2, size)
    found = tiled(as_numbers, images, tile=16, overlap=overlap)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, images, atol=1e-4)


def test_weights_are_those_of_the_formula():
    """Three tiles of 8 that share 4, the first at -1: a quarter counts nothing, half rises."""
    calls = itertools.count()

    def its_number(images):
        return np.full((*images.shape[:3], 1), next(calls), np.float32)

    (found,) = sliding.strips(its_number, np.zeros((1, 8, 13, 3)), tile=8, overlap=4)
    expected = [0, 0, 0, 0, 0.25, 0.75, 1, 1, 1.25, 1.75, 2, 2, 2]
    np.testing.assert_array_equal(found[0, :, :, 0], np.tile(expected, (8, 1)))


def blurred(images, radius):
    """The mean of a square around each pixel, the image mirrored beyond its border."""
    size = (1, 2 * radius + 1, 2 * radius + 1, 1)
    return ndimage.uniform_filter(images.astype(np.float32), size, mode="reflect")


def test_what_sees_a_quarter_of_the_overlap_gives_what_the_whole_image_gives():
    """To the border, beyond which tiles see the mirrored image as the filter does."""
    images = images_of(1, (75, 50))
    for radius, alike in ((4, True), (5, False)):
        found = tiled(
            lambda tile, radius=radius: blurred(tile, radius), images, tile=32, overlap=16
        )
        assert np.allclose(found, blurred(images, radius), atol=1e-3) == alike


def test_an_image_of_one_tile_is_predicted_as_it_is():
    seen = []

    def predict(images):
        seen.append(images)
        return as_numbers(images)

    images = images_of(1, (16, 12))
    np.testing.assert_array_equal(tiled(predict, images, tile=16), images)
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], images)


def test_one_row_of_tiles_is_computed_for_a_strip_and_all_tiles_are_of_one_shape():
    shapes = []

    def predict(images):
        shapes.append(images.shape)
        return as_numbers(images)

    rows = []
    for strip in sliding.strips(predict, images_of(1, (100, 60)), tile=32, overlap=8):
        rows.append((strip.shape[1], len(shapes)))
    # Tiles begin at -2, 22, 46 and 70 (rows), and at -2, 22 and 46 (columns).
    assert rows == [(22, 3), (24, 6), (24, 9), (30, 12)]
    assert set(shapes) == {(1, 32, 32, 3)}


def test_tiles_of_a_valid_unet_equal_one_pass():
    """To the image's border: its margin is the mirrored image in both."""
    images, variables = images_of(1, (70, 101)), opinionated(UNET)

    def predict(tile):
        return probabilities(UNET, [variables], tile)

    whole = predict(images)
    assert whole.std() > 0.05
    np.testing.assert_allclose(tiled(predict, images, **TILES), whole, atol=1e-5)
    too_little = tiled(predict, images, tile=64, overlap=16)
    assert np.abs(too_little - whole).max() > 1e-3


def test_tiles_of_a_padded_network_equal_one_pass_in_the_interior():
    """With views and two networks: where nothing sees the zeros beyond the border."""
    config = UNetConfig(num_classes=3, channels=(2, 3), padding="same")
    groups = [[(config, opinionated(config, seed))] for seed in (0, 1)]
    images = images_of(1, (70, 102))  # even: mirrored cells lie as the others

    def predict(tile):
        return side_by_side(config, groups, tile, Views(flip=True))

    whole, found = predict(images), tiled(predict, images, **TILES)
    assert found.shape == (3, 1, 70, 102, 3)
    inside = np.s_[:, :, 8:-8, 8:-8]
    np.testing.assert_allclose(found[inside], whole[inside], atol=1e-5)
    assert np.abs(found - whole).max() > 1e-3


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ({"tile": 0}, "tile=0: give the side"),
        ({"tile": 32, "overlap": 20}, "overlap=20: give a multiple of 4 from 0 to half a tile, 16"),
        ({"tile": 32, "overlap": 6}, "overlap=6: give a multiple of 4"),
        ({"tile": 32, "overlap": -4}, "overlap=-4: give"),
    ],
)
def test_tiles_that_cannot_be_are_refused(tiles, message):
    with pytest.raises(UserError, match=message):
        next(sliding.strips(as_numbers, images_of(1, (40, 40)), **tiles))
