"""Scores of segments: by hand, and by loops over all pairs of pixels."""

import numpy as np
import pytest

from reseg_jax.labels import VOID
from reseg_jax.partition_metrics import (
    information,
    label_overlaps,
    matched_jaccards,
    overlaps,
    rand,
    segments,
)


def case(seed, truths=5, predictions=6, pixels=60):
    """Segments that agree in part, with boundary pixels in both."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, truths, pixels)
    predicted = np.where(rng.random(pixels) < 0.6, truth, rng.integers(0, predictions, pixels))
    return truth, predicted


def pairs(truth, predicted):
    """[n, n] each: whether two pixels of true segments are together in truth, and as predicted.

    A pixel that is predicted as boundary is together with itself only.
    """
    inside = [i for i in range(len(truth)) if truth[i] > 0]
    together = np.zeros((2, len(inside), len(inside)), bool)
    for a, i in enumerate(inside):
        for b, j in enumerate(inside):
            together[0, a, b] = truth[i] == truth[j]
            together[1, a, b] = i == j or predicted[i] == predicted[j] > 0
    return together


def entropy(together):
    """-mean log share of the pixels that a pixel is together with."""
    return -np.mean([np.log(np.mean(row)) for row in together])


@pytest.mark.parametrize("seed", range(4))
def test_rand_counts_pairs_of_pixels(seed):
    truth, predicted = case(seed)
    same, found_same = pairs(truth, predicted)
    both = (same & found_same).sum()
    found = rand(overlaps(truth, predicted))
    assert found.split == pytest.approx(both / same.sum())
    assert found.merge == pytest.approx(both / found_same.sum())
    assert found.fscore == pytest.approx(2 / (1 / found.split + 1 / found.merge))


@pytest.mark.parametrize("seed", range(4))
def test_information_is_what_pixels_say_about_each_other(seed):
    truth, predicted = case(seed)
    same, found_same = pairs(truth, predicted)
    mutual = entropy(same) + entropy(found_same) - entropy(same & found_same)
    found = information(overlaps(truth, predicted))
    assert found.split == pytest.approx(mutual / entropy(found_same))
    assert found.merge == pytest.approx(mutual / entropy(same))
    assert found.fscore == pytest.approx(2 / (1 / found.split + 1 / found.merge))


@pytest.mark.parametrize("seed", range(4))
def test_matches_have_more_than_half_of_a_true_segment(seed):
    truth, predicted = case(seed)
    expected = []
    for number in sorted(set(truth) - {0}):
        inside, best = {i for i in range(len(truth)) if truth[i] == number}, 0.0
        for other in set(predicted) - {0}:
            guess = {i for i in range(len(truth)) if predicted[i] == other}
            if len(inside & guess) > len(inside) / 2:
                best = len(inside & guess) / len(inside | guess)
        expected.append(best)
    np.testing.assert_allclose(matched_jaccards(overlaps(truth, predicted)), expected)


def test_two_neurons_joined_by_hand():
    """Of 16 pairs of pixels 8 belong together; what is joined says nothing."""
    found = overlaps(np.array([1, 1, 2, 2]), np.array([1, 1, 1, 1]))
    assert rand(found) == pytest.approx((2 / 3, 1, 1 / 2))
    assert information(found) == pytest.approx((0, 1, 0))
    np.testing.assert_allclose(matched_jaccards(found), [2 / 4, 2 / 4])


def test_one_neuron_divided_by_hand():
    """Into 2 pixels and two boundary pixels: 4 + 1 + 1 of 16 pairs are left."""
    found = overlaps(np.array([1, 1, 1, 1]), np.array([1, 1, 0, 0]))
    assert rand(found) == pytest.approx((12 / 22, 6 / 16, 1))
    assert information(found) == pytest.approx((0, 0, 1))
    np.testing.assert_array_equal(matched_jaccards(found), [0])  # half of it, not more


def test_perfect_segments_score_1_by_any_names():
    truth, _ = case(0)
    found = overlaps(truth, np.array([0, 7, 3, 900, 1])[truth])
    assert rand(found) == pytest.approx((1, 1, 1))
    assert information(found) == pytest.approx((1, 1, 1))
    np.testing.assert_array_equal(matched_jaccards(found), [1, 1, 1, 1])


def test_exchanging_truth_and_prediction_exchanges_split_and_merge():
    truth, predicted = (1 + each for each in case(0))
    for score in (rand, information):
        there, back = score(overlaps(truth, predicted)), score(overlaps(predicted, truth))
        assert (there.split, there.merge) == pytest.approx((back.merge, back.split))


def test_pixels_outside_true_segments_count_for_jaccards_only():
    truth, predicted = case(1)
    other = np.where(truth == 0, 3, predicted)
    first, second = overlaps(truth, predicted), overlaps(truth, other)
    assert (rand(first), information(first)) == (rand(second), information(second))
    assert matched_jaccards(first)[2] > matched_jaccards(second)[2] > 0


def test_without_a_true_segment_there_is_no_score():
    found = overlaps(np.zeros(4, int), np.array([0, 1, 1, 2]))
    assert rand(found) is information(found) is None
    assert matched_jaccards(found).shape == (0,)


def test_a_diagonal_line_separates_and_void_does_too():
    labels = np.zeros((4, 4), np.uint8)
    labels[range(4), range(4)] = 2
    labels[3, 1] = 1  # another class: still part of what it touches
    assert segments(labels, 2).max() == 2
    assert len(set(segments(labels, 2)[np.tril_indices(4, -1)])) == 1
    labels[2, 0] = VOID
    labels[3, 1] = VOID
    np.testing.assert_array_equal(segments(labels, 2) > 0, labels == 0)
    assert segments(labels, 2).max() == 5  # four below the diagonal are cut off from each other


def test_void_pixels_are_not_counted():
    truth = np.uint8([[0, 0, 1, 0, 0, VOID, VOID]])
    predicted = np.uint8([[0, 0, 1, 0, 0, 0, 0]])
    found = label_overlaps(truth, predicted, boundary=1)
    assert found.pixels.sum() == 5
    np.testing.assert_array_equal(matched_jaccards(found), [1, 1])
