"""The digits: every one in one split, the same ones always, and what they look like."""

import sys

import numpy as np
import pytest

import data
from data.digits import SIZES, indices
from reseg_jax.errors import UserError


def test_every_image_is_in_one_split():
    found = {split: indices(split) for split in data.SPLITS}
    assert {split: len(numbers) for split, numbers in found.items()} == SIZES
    np.testing.assert_array_equal(np.sort(np.concatenate(list(found.values()))), np.arange(1797))


def test_images_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")
    levels, truth = sklearn.load_digits(return_X_y=True)
    for split in data.SPLITS:
        examples = data.load("digits", split)
        assert len(examples) == SIZES[split]
        for example, index in zip(examples, indices(split), strict=True):
            assert example.name == f"digit_{index:04}"
            assert (example.image.dtype, example.image.shape) == (np.uint8, (8, 8, 3))
            exact = levels[index].reshape(8, 8, 1) * 255 / 16
            assert (np.abs(example.image - exact) < 1).all()
            assert (example.label.dtype, example.label.shape) == (np.uint8, (8, 8))
            assert (example.label == truth[index]).all()
        counts = np.bincount([example.label[0, 0] for example in examples], minlength=10)
        assert counts.min() > 0.5 * counts.mean()  # no class is rare by chance


def test_without_scikit_learn_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"^dataset digits .* pip install scikit-learn$"):
        data.load("digits", "train")
