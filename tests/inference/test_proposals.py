"""Boxes: put together by hand, the whole image as one, and what is no box refused."""

import json

import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.inference import proposals
from reseg_jax.inference.ensemble import Views, probabilities
from reseg_jax.networks.unet import UNetConfig
from tests.support.networks import images_of, random_variables

CONFIG = UNetConfig(num_classes=3, padding="same", channels=(2, 3))


def test_a_box_of_the_whole_image_gives_the_plain_prediction():
    images, variables = images_of(1, (12, 18)), random_variables(CONFIG)

    def predict(part):
        return probabilities(CONFIG, [variables], part, Views(flip=True))

    found = proposals.probabilities(predict, images, [(0, 0, 18, 12)])
    np.testing.assert_allclose(found, predict(images), atol=1e-6)


def test_the_maximum_counts_class_by_class():
    answers = iter(np.float32([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]))

    def predict(images):
        return np.broadcast_to(next(answers), (*images.shape[:3], 3))

    found = proposals.probabilities(predict, images_of(1, (4, 6)), [(0, 0, 4, 3), (2, 1, 6, 4)])[0]
    np.testing.assert_allclose(found[0, 0], [0.6, 0.3, 0.1], rtol=1e-6)
    np.testing.assert_allclose(found[3, 5], [0.1, 0.2, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found[2, 3], np.array([6, 3, 7]) / 16, rtol=1e-6)
    # The same by the equation: the softmax of the larger log-probabilities.
    scores = np.log([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]).max(axis=0)
    np.testing.assert_allclose(found[2, 3], np.exp(scores) / np.exp(scores).sum(), rtol=1e-6)
    np.testing.assert_allclose(found[3, 0], [1 / 3] * 3, rtol=1e-6)  # in no box


def test_boxes_of_one_side_are_shown_enlarged_and_taken_back():
    shapes = []

    def predict(images):
        shapes.append(images.shape)
        left = np.arange(images.shape[2]) < images.shape[2] / 2
        scores = np.stack(np.broadcast_arrays(left, ~left), axis=-1).astype(np.float32)
        return np.broadcast_to(scores, (2, *images.shape[:3], 2))  # of two networks

    found = proposals.probabilities(predict, images_of(1, (6, 8)), [(1, 2, 7, 5), (0, 0, 8, 2)], 12)
    assert shapes == [(1, 12, 12, 3)] * 2
    assert found.shape == (2, 1, 6, 8, 2)
    np.testing.assert_allclose(found[:, 0, 2:5, 1:3, 0], 1, atol=1e-6)
    np.testing.assert_allclose(found[:, 0, 2:5, 5:7, 0], 0, atol=1e-6)
    np.testing.assert_allclose(found[:, 0, 5], 0.5)


def test_a_file_gives_the_boxes_of_each_image(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text('{"a/x": [[0, 0, 8, 6], [2, 1, 4, 3]]}')
    found = proposals.read(path)
    assert found.of("a/x", (6, 8)) == [(0, 0, 8, 6), (2, 1, 4, 3)]
    for name, size, message in (
        ("a/y", (6, 8), "boxes.json has no boxes of the image a/y: add them"),
        ("a/x", (6, 7), r"boxes.json: the box \[0, 0, 8, 6\] of a/x is not in .* 7x6 pixels"),
        ("a/x", (5, 8), r"boxes.json: the box \[0, 0, 8, 6\] of a/x is not in .* 8x5 pixels"),
    ):
        with pytest.raises(UserError, match=message):
            found.of(name, size)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[0, 0, 1, 1]], "boxes.json must hold"),
        ({"x": []}, "boxes.json: 'x' has no list of boxes"),
        ({"x": {"left": 0}}, "boxes.json: 'x' has no list of boxes"),
        ({"x": [[0, 0, 4]]}, r"boxes.json: \[0, 0, 4\] of 'x' is no box"),
        ({"x": [[0, 0, 4, 2.5]]}, r"\[0, 0, 4, 2.5\] of 'x' is no box"),
        ({"x": [[0, 0, True, 2]]}, r"\[0, 0, True, 2\] of 'x' is no box"),
        ({"x": [[-1, 0, 4, 2]]}, r"\[-1, 0, 4, 2\] of 'x' is no box"),
        ({"x": [[4, 0, 4, 2]]}, r"\[4, 0, 4, 2\] of 'x' is no box"),
        ({"x": [7]}, "7 of 'x' is no box"),
    ],
)
def test_what_is_no_box_is_named(tmp_path, content, message):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        proposals.read(path)
