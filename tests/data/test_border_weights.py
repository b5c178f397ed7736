"""U-Net's weights between cells, by hand and pixel by pixel."""

import numpy as np
import pytest

from data.border_weights import border_weights
from reseg_jax.labels import VOID


def by_definition(cells, peak):
    """Equation 2's second term from the distances of every pixel to every pixel of every cell."""
    weights = np.zeros(cells.shape)
    for row, column in np.ndindex(cells.shape):
        distances = sorted(
            min(np.hypot(row - y, column - x) for y, x in np.argwhere(cells == number))
            for number in set(cells.ravel()) - {0}
        )
        if len(distances) > 1:
            weights[row, column] = peak * np.exp(-((distances[0] + distances[1]) ** 2) / 50)
    return weights


def test_between_two_pixels_by_hand():
    """Cells at columns 0 and 4: everywhere between them the distances add up to 4."""
    label = np.zeros((1, 7), np.uint8)
    label[0, [0, 4]] = 1
    expected = 10 * np.exp(-(np.array([4, 4, 4, 4, 4, 6, 8]) ** 2) / 50)
    np.testing.assert_allclose(border_weights(label, 10)[0], expected, rtol=1e-6)


def test_every_pixel_has_the_weight_of_its_two_nearest_cells():
    cells = np.zeros((17, 21), np.uint8)
    cells[1:6, 2:6], cells[2:9, 8:10], cells[12:15, 3:18], cells[0, 20] = 1, 2, 3, 4
    found = border_weights((cells > 0).astype(np.uint8), 10)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_definition(cells, 10), rtol=1e-5, atol=1e-6)


def test_cells_far_apart_and_single_ones_add_nothing():
    label = np.zeros((3, 90), np.uint8)
    assert not border_weights(label, 10).any()
    label[1, 5] = 1
    assert not border_weights(label, 10).any()
    label[1, 80] = 1
    np.testing.assert_allclose(border_weights(label, 10), 0, atol=1e-6)


@pytest.mark.parametrize("more", [2, VOID])
def test_a_cell_may_have_several_classes_and_void_is_none(more):
    label = np.zeros((3, 9), np.uint8)
    label[1, [1, 2, 6]] = 1, more, 1
    cells = np.zeros((3, 9), int)
    cells[1, [1, 2, 6]] = 1, more == 2, 2
    found = border_weights(label[:, ::-1], 3)[:, ::-1]
    np.testing.assert_allclose(found, by_definition(cells, 3), rtol=1e-5)
