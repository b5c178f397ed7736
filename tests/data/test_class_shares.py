"""What training prints about its classes before it begins, and what it refuses to begin with."""

import numpy as np
import pytest

from data.class_shares import check, count_pixels, describe
from data.example import Example
from data.folder.label_rule import candidates, with_reading
from data.folder.table import Table
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID, Classes

NAMES = ("road", "sky", "car")
CLASSES = Classes(NAMES, ((0, 0, 0),) * 3)


def counts(*rows):
    """Pixels of a split with an image per row of labels."""
    examples = [
        Example("x", np.zeros((1, len(row), 3), np.uint8), np.array([row], np.uint8))
        for row in rows
    ]
    return count_pixels(examples, 3)


def test_pixels_and_shares_by_hand():
    pixels = counts([0, 0, 1, VOID], [0, 2, VOID, VOID])
    assert pixels.tolist() == [3, 1, 1, 3]
    assert describe("train", 2, pixels, CLASSES) == (
        "train: 2 images, 37.5 % void; of the labeled pixels, in %: road 60, sky 20, car 20"
    )
    check({"train": pixels, "val": pixels}, CLASSES)


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        ([[0, 1, 2]], [[VOID, VOID]], ["val split has no labeled pixel", "all 2 are void", "255"]),
        ([[VOID]], [[0]], ["train split has no labeled pixel"]),
        ([[0, 1, 2]], [], ["val split holds no image"]),
        ([[0, 1]], [[2]], ["class car has no pixel in training", "2 = car", "--allow_missing"]),
        ([[0]], [[0]], ["classes sky, car have no pixel"]),
    ],
)
def test_what_cannot_be_learned_is_refused(train, val, words):
    with pytest.raises(UserError) as caught:
        check({"train": counts(*train), "val": counts(*val)}, CLASSES)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_missing_class_is_allowed_and_said(caplog):
    pixels = {"train": counts([0, 1]), "val": counts([0])}
    check(pixels, CLASSES, allow_missing=True)
    assert "class car has no pixel in training" in caplog.text
    assert "no pixel in val of: sky;" in caplog.text  # and not of car, which is nowhere


def test_255_that_is_void_is_said_where_the_object_is_missing():
    """The README's table, copied, over masks in black and white."""
    table = Table(NAMES[:2], ((0, 0, 0), (255, 255, 255)), void=(255,))
    classes = with_reading(table, candidates(table)["indices"])
    pixels = np.array([5, 0, 7])
    with pytest.raises(
        UserError, match=r"^255 is read as void and class sky has no pixel .*1 = sky"
    ):
        check({"train": pixels, "val": pixels}, classes)
