"""Batches of images of one size: which images are computed together; it changes nothing."""

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.inference.batching import batches, by_memory
from reseg_jax.inference.ensemble import Views, probabilities
from tests.support import tiny


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ("", []),
        ("aaaa", ["aa", "aa"]),
        ("aaabb", ["aa", "a", "bb"]),  # what fills no batch goes by itself
        ("abab", ["a", "b", "a", "b"]),
        ("a-aa", ["a", "-", "aa"]),  # one that could not be read
        ("aaa", ["aa", "a"]),
    ],
)
def test_images_of_one_size_in_a_row_are_a_batch(sizes, expected):
    found = batches(sizes, lambda image: None if image == "-" else (image,), lambda size: 2)
    assert ["".join(batch) for batch in found] == expected


def test_three_of_four_go_one_by_one():
    assert list(batches([1, 2, 3], lambda image: (2, 2), lambda size: 4)) == [[1], [2], [3]]


@pytest.mark.parametrize(
    ("size", "count"), [((360, 480), 8), ((1024, 1024), 2), ((3000, 4000), 1), ((1, 1), 8)]
)
def test_larger_images_are_fewer_in_a_batch(size, count):
    assert by_memory(size) == count


def test_a_batch_gives_what_its_images_give(key):
    variables = jax.tree.map(lambda leaf: 3 * leaf, api.init(tiny.CONFIG, key))
    images, views = tiny.images_and_labels(3)[0], Views(flip=True)
    together = probabilities(tiny.CONFIG, [variables], images, views, padded_size=(12, 12))
    for image, found in zip(images, together, strict=True):
        alone = probabilities(tiny.CONFIG, [variables], image, views, padded_size=(12, 12))
        np.testing.assert_allclose(found, alone, atol=1e-5)
        assert alone.std() > 0.01  # else any image would do
