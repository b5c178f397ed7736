"""Scores by hand and by definition, pixel by pixel."""

import json

import numpy as np
import pytest

from experiments.baselines import baselines, two_class
from experiments.baselines import format_table as table_of_baselines
from reseg_jax.labels import VOID, Classes
from reseg_jax.metrics import confusion_matrix, foreground_summary, format_table, summarize
from tests.support import reference_training as reference

MEANS = ("miou", "global_accuracy", "mean_class_accuracy", "miou_void_counted", "mean_dice")
PER_CLASS = ("iou", "iou_void_counted", "accuracy", "dice")


def case(seed, classes=5, shape=(2, 9, 7), used=None, void=0.0):
    """Random labels with void and predictions that agree with half of them.

    void: the share of void among the predictions.
    """
    rng = np.random.default_rng(seed)
    used = range(classes) if used is None else used
    labels = rng.choice(used, shape).astype(np.uint8)
    predictions = np.where(rng.random(shape) < 0.5, labels, rng.choice(used, shape))
    labels[rng.random(shape) < 0.2] = VOID
    predictions[rng.random(shape) < void] = VOID
    return labels, predictions


def score(labels, predictions, classes):
    return summarize(confusion_matrix(labels, predictions, classes))


@pytest.mark.parametrize("void", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_matrix_equals_the_loop(dtype, void):
    """Also with 200 classes in 8 bits, where truth times classes would wrap around."""
    for seed, classes in ((0, 5), (1, 200)):
        labels, predictions = case(seed, classes, void=void)
        found = confusion_matrix(labels, predictions.astype(dtype), classes)
        assert found.dtype == np.int64
        expected = reference.confusion_matrix(labels, predictions, classes)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("void", [0.0, 0.3])
@pytest.mark.parametrize("used", [range(5), (0, 2, 3), (4,)])
def test_scores_equal_their_definitions_pixel_by_pixel(used, void):
    """Also with classes absent from truth and prediction, and with void predicted."""
    labels, predictions = case(2, used=used, void=void)
    found, expected = score(labels, predictions, 5), reference.scores(labels, predictions, 5)
    for name in MEANS + PER_CLASS:
        assert found[name] == pytest.approx(expected[name], abs=1e-12), name
    assert found["absent"] == sorted(set(range(5)) - set(used))
    assert found["pixels"] == np.count_nonzero(labels != VOID)


def test_by_hand():
    """Truth 0 0 0 1 1 void, prediction 0 0 1 1 0 1, three classes.

    Class 0: 2 right, 1 missed, 1 false; class 1: 1 right, 1 missed, 1 false, and one more false
    if void counts; class 2 is nowhere.
    """
    found = score(np.uint8([[0, 0, 0], [1, 1, VOID]]), np.array([[0, 0, 1], [1, 0, 1]]), 3)
    assert found["iou"] == pytest.approx([2 / 4, 1 / 3, None])
    assert found["iou_void_counted"] == pytest.approx([2 / 4, 1 / 4, None])
    assert found["dice"] == pytest.approx([4 / 6, 2 / 4, None])
    assert found["accuracy"] == pytest.approx([2 / 3, 1 / 2, None])
    assert found["global_accuracy"] == pytest.approx(3 / 5)
    assert found["miou"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found["mean_dice"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["miou_void_counted"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert found["mean_class_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["absent"] == [2]


def test_predicted_void_by_hand():
    """Truth 0 0 0 1 1 void void, prediction 0 0 void 1 void void 1, two classes.

    Void on a labeled pixel is a miss of its class and no false positive; void on void is
    right and counts nothing; class 1 on void is a false positive if void counts.
    """
    truth = np.uint8([0, 0, 0, 1, 1, VOID, VOID])
    predicted = np.uint8([0, 0, VOID, 1, VOID, VOID, 1])
    matrix = confusion_matrix(truth, predicted, 2)
    np.testing.assert_array_equal(matrix, [[2, 0, 1], [0, 1, 1], [0, 1, 1]])
    found = summarize(matrix)
    assert found["iou"] == pytest.approx([2 / 3, 1 / 2])
    assert found["iou_void_counted"] == pytest.approx([2 / 3, 1 / 3])
    assert found["accuracy"] == pytest.approx([2 / 3, 1 / 2])
    assert found["global_accuracy"] == pytest.approx(3 / 5)
    assert found["pixels"] == 5


def test_a_class_predicted_only_on_void_is_absent():
    """In both conventions, so that they average over the same classes."""
    found = score(np.uint8([0, VOID]), np.uint8([0, 1]), 2)
    assert (found["iou"], found["iou_void_counted"]) == ([1, None], [1, None])
    assert (found["miou_void_counted"], found["absent"]) == (1, [1])


def test_void_everywhere_is_wrong_everywhere():
    found = score(np.uint8([0, 1, 1]), np.full(3, VOID, np.uint8), 2)
    assert (found["iou"], found["global_accuracy"], found["absent"]) == ([0, 0], 0, [])


def test_a_class_predicted_but_not_there_has_iou_0_and_no_accuracy():
    found = score(np.uint8([[0, 0]]), np.array([[0, 1]]), 2)
    assert found["iou"] == [0.5, 0]
    assert found["accuracy"] == [0.5, None]
    assert (found["miou"], found["mean_class_accuracy"], found["absent"]) == (0.25, 0.5, [])


def test_perfect_prediction():
    labels, _ = case(3)
    found = score(labels, np.where(labels == VOID, 0, labels), 5)
    assert found["iou"] == found["accuracy"] == [1.0] * 5
    # Void was predicted as class 0: only the stricter convention counts it.
    assert found["iou_void_counted"][1:] == [1.0] * 4
    labeled, void = np.count_nonzero(labels == 0), np.count_nonzero(labels == VOID)
    assert found["iou_void_counted"][0] == pytest.approx(labeled / (labeled + void))


def test_counting_void_never_raises_a_score():
    for seed in range(5):
        found = score(*case(seed), 5)
        pairs = zip(found["iou_void_counted"], found["iou"], strict=True)
        assert all(strict <= usual for strict, usual in pairs)


def test_nothing_but_void_has_no_score_and_no_crash():
    found = score(np.full((2, 2), VOID, np.uint8), np.zeros((2, 2), int), 2)
    assert [found[name] for name in MEANS] == [None] * 5
    assert found["absent"] == [0, 1]


def test_matrices_add_up_over_a_split():
    """The sum of the images' matrices is the matrix of all pixels, however they are cut."""
    labels, predictions = case(4)
    parts = sum(confusion_matrix(a, b, 5) for a, b in zip(labels, predictions, strict=True))
    np.testing.assert_array_equal(parts, confusion_matrix(labels, predictions, 5))


def test_renaming_the_classes_renames_the_scores():
    labels, predictions = case(5)
    names = np.array([3, 0, 4, 1, 2])
    renamed = np.where(labels == VOID, VOID, names[np.minimum(labels, 4)]).astype(np.uint8)
    first, second = score(labels, predictions, 5), score(renamed, names[predictions], 5)
    assert first["miou"] == pytest.approx(second["miou"])
    assert first["iou"] == pytest.approx([second["iou"][name] for name in names])


def test_baselines_are_the_scores_of_constant_predictions():
    """The first rows of the paper's Tables 1 and 2, from what any prediction gave."""
    truths = [np.uint8([[0, 0, 0, 1]]), np.uint8([[1, 1, VOID, 0, 1, 1, 1, 1]])]
    matrices = [confusion_matrix(truth, np.flip(truth), 2) for truth in truths]
    found = baselines(matrices)
    for name, index in (("all_foreground", 1), ("all_background", 0)):
        constant = [confusion_matrix(truth, np.full_like(truth, index), 2) for truth in truths]
        assert found[name] == two_class(constant)
    foreground, background = found["all_foreground"], found["all_background"]
    # Their accuracies and IoUs are shares: 7 of 11 labeled pixels are foreground.
    assert foreground["global_accuracy"] == foreground["foreground_iou"] == 7 / 11
    assert foreground["miou"] == 7 / 11 / 2
    assert foreground["foreground_iou_per_image"] == pytest.approx((1 / 4 + 6 / 7) / 2)
    assert (background["global_accuracy"], background["foreground_iou"]) == (4 / 11, 0)
    assert background["accuracy_per_image"] == pytest.approx((3 / 4 + 1 / 7) / 2)


def test_the_table_of_baselines_has_a_column_each_and_a_dash_where_there_is_none():
    rows = {"network": two_class([confusion_matrix(np.uint8([0]), np.uint8([0]), 2)])}
    rows |= baselines([confusion_matrix(np.uint8([0]), np.uint8([0]), 2)])
    header, *lines = table_of_baselines(rows).splitlines()
    assert header.split("  ")[-1].strip() == "all background"
    assert lines[0].split() == ["accuracy", "100.00", "0.00", "100.00"]
    assert lines[1].split() == ["foreground", "IoU", "-", "0.00", "-"]
    assert len({len(line) for line in (header, *lines)}) == 1


def test_pooled_and_per_image_foreground_by_hand():
    """Image 1: 1 of 3 right; image 2: 4 of 4. Pooled 5 of 7; per image the mean of 1/3 and 1.

    Background: image 1 has 3 of 5 (two false), image 2 has 2 of 2.
    """
    one = confusion_matrix(np.uint8([1, 0, 0, 0, 0, 0]), np.array([1, 1, 1, 0, 0, 0]), 2)
    two = confusion_matrix(np.uint8([1, 1, 1, 1, 0, 0]), np.array([1, 1, 1, 1, 0, 0]), 2)
    found = foreground_summary([one, two])
    assert found["foreground_iou"] == pytest.approx(5 / 7)
    assert found["foreground_iou_per_image"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["miou_per_image"] == pytest.approx(((1 / 3 + 3 / 5) / 2 + 1) / 2)
    assert found["accuracy_per_image"] == pytest.approx((4 / 6 + 1) / 2)


def test_summary_is_json():
    found = score(*case(6, used=(0, 1)), 5)
    assert json.loads(json.dumps(found)) == found


def test_table_is_aligned_and_says_what_is_absent():
    found = score(np.uint8([[0, 0, 0], [1, 1, VOID]]), np.array([[0, 0, 1], [1, 0, 1]]), 3)
    classes = Classes(("sky", "building", "tree"), ((0, 0, 0),) * 3)
    table = format_table(found, classes)
    header, *rows = table.splitlines()
    assert rows[1].split() == ["building", "50.0", "33.3", "50.0", "25.0"]
    assert rows[2].split() == ["tree", "-", "-", "-", "-"]
    assert rows[3].split() == ["mean", "58.3", "41.7", "58.3", "37.5"]
    assert len({len(line) for line in (header, *rows[:4])}) == 1
    assert "60.0" in rows[4]
    assert "tree" in rows[5]
    assert "building" not in rows[5]
